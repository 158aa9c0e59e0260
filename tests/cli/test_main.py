"""The command `superedge`: its subcommands, exit codes, and what its help costs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, cast
from unittest import mock

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from superedge import __version__
from superedge.cli.example import _EXAMPLES
from superedge.cli.main import superedge
from superedge.tls.authority import Authority

SCRIPT = str(Path(sys.executable).with_name("superedge"))


class MainTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.addCleanup(signal.signal, signal.SIGHUP, signal.getsignal(signal.SIGHUP))

    def test_a_reload_does_not_end_what_is_about_to_serve(self) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        for name, reaction in (("check", signal.SIG_DFL), ("edge", signal.SIG_IGN)):
            superedge.get_command(cast(Any, None), name)
            self.assertEqual(signal.getsignal(signal.SIGHUP), reaction)

    def test_every_subcommand_can_be_loaded_and_has_a_help(self) -> None:
        listed = CliRunner().invoke(superedge, ["--help"]).stdout
        for name in superedge.list_commands(None):  # type: ignore[arg-type]
            self.assertIn(f"\n  {name} ", listed)
            done = CliRunner().invoke(superedge, [name, "--help"])
            self.assertEqual(done.exit_code, 0, done.output)
            self.assertIn(f" {name} ", done.stdout.splitlines()[0] + " ")

    def test_what_is_unknown(self) -> None:
        done = CliRunner().invoke(superedge, ["eegde"])
        self.assertEqual(done.exit_code, 2)
        self.assertIn("No such command 'eegde'", done.stderr)

    def test_version(self) -> None:
        self.assertEqual(CliRunner().invoke(superedge, ["--version"]).stdout, f"superedge {__version__}\n")

    def test_the_help_imports_no_component(self) -> None:
        heavy = {"twisted", "rich", "msgspec"}
        program = f"import sys, superedge.cli.main; print(*({heavy} & set(sys.modules)))"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout, "\n")

    def test_completion(self) -> None:
        for shell in ("bash", "zsh", "fish"):
            said = CliRunner().invoke(superedge, ["completion", shell]).stdout
            self.assertIn(f"_SUPEREDGE_COMPLETE={shell}_complete", said)

    def test_examples_are_the_files_themselves(self) -> None:
        said = CliRunner().invoke(superedge, ["example", "edge.toml"]).stdout
        self.assertEqual(said, (Path(__file__).parents[2] / "conf/edge.toml").read_text())

    def test_every_file_of_the_package_is_an_example(self) -> None:
        project = Path(__file__).parents[2]
        shipped = [*(project / "conf").iterdir(), *(project / "deploy").glob("*/*")]
        found = {CliRunner().invoke(superedge, ["example", name]).stdout for name in _EXAMPLES}
        self.assertEqual([path for path in shipped if path.read_text() not in found], [])

    def test_check_of_standard_input(self) -> None:
        directory = Path(self.mktemp()).absolute()
        Authority.create(directory).issue("edge-1", directory=directory)
        text = (
            '[tunnel_edge]\nservers = ["127.0.0.1:1"]\n'
            'certificate = "edge-1.crt"\nkey = "edge-1.key"\nca = ["ca.crt"]\n'
        )
        done = subprocess.run(
            [SCRIPT, "check", "-"], input=text, cwd=directory, capture_output=True, text=True, check=False
        )
        self.assertEqual((done.returncode, done.stdout), (0, "superedge: /dev/stdin is valid\n"), done.stderr)

    def test_check(self) -> None:
        directory = Path(self.mktemp()).absolute()
        Authority.create(directory).issue("edge-1", directory=directory)
        path = directory / "edge.toml"
        path.write_text(
            '[tunnel_edge]\nservers = ["127.0.0.1:1"]\n'
            'certificate = "edge-1.crt"\nkey = "edge-1.key"\nca = ["ca.crt"]\n'
        )
        done = CliRunner().invoke(superedge, ["check", str(path)])
        self.assertEqual((done.exit_code, done.stdout), (0, f"superedge: {path} is valid\n"))
        done = CliRunner().invoke(
            superedge, ["check", str(path), "--set", "ops.listen=5", "--set", "log.x=1"]
        )
        self.assertEqual((done.exit_code, len(done.stderr.splitlines())), (78, 2))
        (directory / "ca.crt").unlink()
        done = CliRunner().invoke(superedge, ["check", str(path)])
        self.assertEqual(done.exit_code, 1)
        self.assertIn(f"{path}: tunnel_edge.ca: {directory / 'ca.crt'}: cannot be read", done.stderr)

    def test_a_configuration_without_the_right_to_read_it(self) -> None:
        """Exit code 78, after which systemd does not try again: not that of a wrong command line."""
        path = Path(self.mktemp()).absolute()
        path.write_text("")
        self.patch(os, "access", lambda *arguments, **keywords: False)
        self.patch(Path, "read_text", mock.Mock(side_effect=PermissionError(13, "Permission denied")))
        for command in (
            ["check"],
            ["edge", "--config"],
            ["netrestore", "--config"],
            ["cache", "list", "--config"],
        ):
            done = CliRunner().invoke(superedge, [*command, str(path)])
            said = done.stderr or str(done.exception)
            self.assertIn(f"{path}: cannot be read: Permission denied", said)
            self.assertNotEqual(done.exit_code, 2)

    def test_a_fault_under_the_console_script(self) -> None:
        command = [SCRIPT, "cache", "list", "--config", "/nowhere"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 78)
        self.assertEqual(done.stderr, "superedge: /nowhere: cannot be read: No such file or directory\n")
