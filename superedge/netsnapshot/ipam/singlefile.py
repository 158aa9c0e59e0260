"""The plugin as one executable file, for /opt/cni/bin: a zip archive of this package behind a ``#!`` line.

``python -m superedge.netsnapshot.ipam.singlefile FILE`` makes it.

The ``#!`` line imports from the archive by itself. An interpreter that is given an archive to run imports
half a dozen modules first, to find out what it has. The plugin's modules are in one member of the archive,
because each member takes as long to find and read as to run.
"""

from __future__ import annotations

import io
import marshal
import os
import py_compile
import sys
import tempfile
import zipfile
from pathlib import Path

NAME = "superedge-ipam"
_PACKAGE = "superedge.netsnapshot.ipam"
_MODULES = (
    "errors",
    "addresses",
    "documents",
    "allocation",
    "configuration",
    "sharing",
    "hostlocal",
    "files",
    "store",
    "plugin",
)
"""What the plugin has, each after those that it imports."""
_LOADER = """\
import sys
from marshal import loads

def load(name, code):
    module = sys.modules[name] = type(sys)(name)
    parent, _, own = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], own, module)
    exec(code, vars(module))

"""
# Kernels before 5.1 read 127 characters.
_LIMIT = 127


def interpreter() -> str:
    """The interpreter that runs now, outside of its virtual environment."""
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def build(python: str) -> bytes:
    """The file's bytes, to be run by an interpreter with this absolute path. Raises ValueError."""
    first = f"#!{python} -IScimport sys;sys.path[:0]=sys.argv[1:2];import plugin_main\n"
    if not python.startswith("/") or " " in python or len(first) > _LIMIT:
        raise ValueError(
            f"{python!r} must be an absolute path without spaces, of at most {_LIMIT - 65} characters"
        )
    here = Path(__file__).parent
    packages = _PACKAGE.split(".")
    sources = {".".join(packages[: end + 1]): "" for end in range(len(packages))}
    sources |= {f"{_PACKAGE}.{name}": (here / f"{name}.py").read_text(encoding="utf-8") for name in _MODULES}
    # The compiled form is for this version of Python; others compile the source each time.
    source, compiled = _LOADER, _LOADER
    for name, text in sources.items():
        file = f"{name.replace('.', '/')}.py"
        code = compile(text, file, "exec", dont_inherit=True, optimize=2)
        source += f"load({name!r}, compile({text!r}, {file!r}, 'exec'))\n"
        compiled += f"load({name!r}, loads({marshal.dumps(code)!r}))\n"
    main = f"sys.modules['{_PACKAGE}.plugin'].main()\n"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as target:
        target.writestr(zipfile.ZipInfo("plugin_main.pyc"), _compiled(compiled + main))
        target.writestr(zipfile.ZipInfo("plugin_main.py"), source + main)
        target.writestr(zipfile.ZipInfo("__main__.py"), "import plugin_main\n")
    return first.encode() + archive.getvalue()


def _compiled(source: str) -> bytes:
    """The file that Python would keep of a module, in force whatever the time of its source."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "plugin_main.py")
        path.write_text(source, encoding="utf-8")
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        name = py_compile.compile(str(path), dfile=path.name, doraise=True, invalidation_mode=mode)
        assert name is not None
        return Path(name).read_bytes()


def install(target: Path, python: str) -> None:
    """Put the file into place in one step, executable. Raises OSError and ValueError."""
    data = build(python)
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(descriptor, 0o755)
            os.fsync(descriptor)
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise


if __name__ == "__main__":
    install(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else interpreter())
