"""The built wheel in a clean environment: what it adds to Twisted, and that it leaves Twisted whole."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import cache_from_source, find_spec
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

PROJECT = Path(__file__).parents[2]
COMMANDS = ("superedge-cloud", "superedge-edge")


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """The command's standard output; an AssertionError with all that it said if it fails."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def needed_by(requirements: list[str], seen: set[str]) -> Iterator[Distribution]:
    """The installed distributions that the requirements lead to."""
    for requirement in requirements:
        text, _, marker = requirement.partition(";")
        name = re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", text.strip(), maxsplit=1)[0].lower())
        if name in seen or "extra" in marker:
            continue
        seen.add(name)
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue  # for another platform or Python
        yield found
        yield from needed_by(found.requires or [], seen)


def link(source: Path, target: Path) -> None:
    """A hard link, or a copy where there can be none."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


class Environment:
    """A virtual environment with SuperEdge's dependencies, and without SuperEdge."""

    def __init__(self, directory: Path, requirements: list[str]) -> None:
        venv.create(directory, with_pip=False, symlinks=True)
        self.python = directory / "bin" / "python"
        self.packages = next((directory / "lib").glob("python*")) / "site-packages"
        for found in needed_by(requirements, {"superedge"}):
            for file in found.files or []:
                if file.suffix in {".pyc", ".cache"} or "pip" in file.parts:
                    continue
                if file.parts[0] != "..":
                    source = Path(str(found.locate_file(file)))
                    link(source, self.packages / file)
                    self._link_compiled(source, self.packages / file)
        # What pip would have made of Twisted's entry point.
        self.script = directory / "bin" / "twistd.py"
        self.script.write_text("from twisted.scripts.twistd import run\nrun()\n")

    def _link_compiled(self, source: Path, target: Path) -> None:
        """A module's bytecode, which fits the link as it fits the module, so that nothing is compiled."""
        if source.suffix == ".py" and (compiled := Path(cache_from_source(str(source)))).exists():
            link(compiled, Path(cache_from_source(str(target))))

    def pip(self, *arguments: str | Path) -> None:
        """The running environment's pip, at work on this one."""
        run(sys.executable, "-m", "pip", "--python", self.python, "--disable-pip-version-check", *arguments)

    def twistd(self, *arguments: str) -> str:
        """Run twistd away from the source tree."""
        return run(self.python, self.script, *arguments, cwd=self.packages.parent)

    def files(self) -> dict[str, int]:
        """Everything installed, without what Python and Twisted write as they run."""
        return {
            str(path.relative_to(self.packages)): path.stat().st_size
            for path in self.packages.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts and path.name != "dropin.cache"
        }


class WheelTests(SynchronousTestCase):
    def build(self, directory: Path) -> Path:
        """The wheel, made without a network when the build backend is installed here."""
        isolation = ["--no-isolation"] if find_spec("hatchling") else []
        run(sys.executable, "-m", "build", "--wheel", *isolation, "--outdir", directory, PROJECT)
        (wheel,) = directory.glob("*.whl")
        return wheel

    def test_install_and_uninstall(self) -> None:
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        wheel = self.build(directory)
        names = zipfile.ZipFile(wheel).namelist()
        self.assertEqual(
            [name for name in names if name.startswith("twisted/")], ["twisted/plugins/superedge_plugins.py"]
        )
        self.assertIn("superedge/py.typed", names)
        strays = [
            name for name in names if not re.match(r"superedge(-[\d.]+\.dist-info)?/|twisted/plugins/", name)
        ]
        self.assertEqual(strays, [])

        requirements = [
            line.removeprefix("Requires-Dist: ")
            for line in zipfile.ZipFile(wheel)
            .read(next(name for name in names if name.endswith("METADATA")))
            .decode()
            .splitlines()
            if line.startswith("Requires-Dist: ") and "extra ==" not in line
        ]
        clean = Environment(directory / "clean", requirements)
        before = clean.files()
        listed = clean.twistd("--help")
        for command in COMMANDS:
            self.assertNotIn(command, listed)

        clean.pip("install", "--no-deps", "--no-index", "--no-compile", wheel)
        listed = clean.twistd("--help")
        config = directory / "ops.toml"
        config.write_text("[ops]\n")
        for command in COMMANDS:
            self.assertIn(command, listed)
            self.assertIn("is valid", clean.twistd(command, "--config", str(config), "--check"))
        for name in ("superedge", "superedge-connect", "superedge-cache"):
            self.assertIn(f"Usage: {name} ", run(clean.python.with_name(name), "--help"))
        plugin = directory / "cni"
        run(clean.python.with_name("superedge"), "ipam", "install", "--to", plugin)
        for program in (plugin / "superedge-ipam", clean.python.with_name("superedge-ipam")):
            self.assertIn('"1.1.0"', run("env", "CNI_COMMAND=VERSION", program))
        self.assertIn("[tunnel_edge]", run(clean.python.with_name("superedge"), "example", "edge.toml"))
        where = run(clean.python, "-c", "import superedge; print(superedge.__file__)", cwd=directory).strip()
        self.assertTrue(where.startswith(str(clean.packages)), where)

        clean.pip("uninstall", "--yes", "superedge")
        self.assertEqual(clean.files(), before)
        listed = clean.twistd("--help")
        self.assertIn("ftp", listed)
        for command in COMMANDS:
            self.assertNotIn(command, listed)
