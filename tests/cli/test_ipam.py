"""``superedge ipam``."""

from __future__ import annotations

import grp
import json
import os
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from superedge.cli import ipam
from superedge.cli.main import superedge
from superedge.netsnapshot.ipam.store import Store
from tests.netsnapshot.ipam.calls import PluginCase


class IPAMTests(PluginCase):
    def setUp(self) -> None:
        super().setUp()
        self.patch(ipam, "Store", lambda directory: Store(directory, str(self.results)))
        self.add("c1", "web-0", "u1")
        self.add("c2", "web-1", "u2")
        self.call("DEL", "c2", "web-1", "u2")

    def cli(self, *arguments: str, code: int = 0) -> Result:
        """Run a command on the test's directory."""
        command, *rest = arguments
        done = CliRunner().invoke(superedge, ["ipam", command, "--data-dir", str(self.directory), *rest])
        self.assertEqual(done.exit_code, code, done.output)
        return done

    def test_share(self) -> None:
        group = grp.getgrgid(os.getgid()).gr_name
        self.cli("share", group)
        self.assertEqual((self.files / "state").stat().st_mode & 0o777, 0o660)
        self.assertIn("there is no group nobody-has-it", self.cli("share", "nobody-has-it", code=2).output)

    def test_directories_and_files_that_cannot_be_used(self) -> None:
        path = str(self.directory)
        for options in (("--data-dir", f"{path}/none"), ("--data-dir", f"{path}/edge/state")):
            for command, *rest in (("list",), ("verify",), ("release", "default/web-1")):
                self.assertIn(
                    "Invalid value for '--data-dir'", self.cli(command, *options, *rest, code=2).stderr
                )
        (self.files / "lock").unlink()
        (self.files / "lock").mkdir()
        for command, *rest in (("list",), ("verify",), ("release", "default/web-1")):
            said = self.cli(command, *rest, code=1).stderr
            self.assertEqual(said, f"Error: {path}/edge/lock: Is a directory\n")
        arguments = ["ipam", "install", "--to", f"{path}/edge/state"]
        said = CliRunner().invoke(superedge, arguments).stderr
        self.assertEqual(said, f"Error: {path}/edge/state: File exists\n")

    def test_list(self) -> None:
        lines = self.cli("list").stdout.splitlines()
        self.assertEqual(lines[0].split()[:4], ["NETWORK", "POD", "INTERFACE", "ADDRESSES"])
        words = [line.split()[:5] for line in lines[1:]]
        self.assertEqual(words[0], ["edge", "default/web-0", "eth0", "10.1.0.2", "attached"])
        self.assertEqual(words[1], ["edge", "default/web-1", "eth0", "10.1.0.3", "reserved"])
        found = json.loads(self.cli("list", "--network", "edge", "--output", "json").stdout)
        expected = {
            "network": "edge",
            "namespace": "default",
            "pod": "web-1",
            "uid": "u2",
            "container": "",
            "interface": "eth0",
            "addresses": ["10.1.0.3"],
            "since": 1000,
            "state": "reserved",
        }
        self.assertEqual(found[1], expected)
        self.assertIn("does not serve a network none", self.cli("list", "--network", "none", code=1).stderr)
        self.add("c3", "w" * 100, "u3")
        self.assertIn("w" * 100, self.cli("list").stdout, "no line is wrapped for a program")

    def configuration(self, **ipam: Any) -> str:
        path = self.directory / "10-edge.conflist"
        plugins = [{"type": "bridge", "ipam": self.ipam | ipam}, {"type": "portmap"}]
        path.write_text(json.dumps({"cniVersion": "1.0.0", "name": "edge", "plugins": plugins}))
        return str(path)

    def test_verify(self) -> None:
        self.assertEqual(self.cli("verify").stdout, "edge: 2 addresses, 0 problems\n")
        self.cli("verify", "--config", self.configuration())
        narrow = self.configuration(ranges=[[{"subnet": "10.1.0.0/30"}]])
        done = self.cli("verify", "--config", narrow, code=1)
        self.assertEqual(done.stderr, "edge: 10.1.0.3 of pod default/web-1 is in none of the ranges\n")
        wrong = self.configuration(ranges=[[{"subnet": "x"}]])
        self.assertIn("ipam.ranges[0][0].subnet", self.cli("verify", "--config", wrong, code=1).stderr)
        for text, said in (
            ("[]", "the network configuration is not a JSON object"),
            ("[" * 100_000, "the network configuration is not JSON: nested too deeply"),
            ('{"plugins": 7}', "has no plugin whose ipam.type is superedge-ipam"),
            ('{"plugins": [7, {"ipam": "x"}]}', "has no plugin whose ipam.type is superedge-ipam"),
            ('{"ipam": {"type": "superedge-ipam"}}', "name: None is not a network's name"),
        ):
            Path(wrong).write_text(text)
            done = self.cli("verify", "--config", wrong, code=1)
            self.assertEqual((done.stdout, done.stderr[-1 - len(said) :]), ("", f"{said}\n"))

        (self.files / "state").write_bytes(b"x")
        (self.files / "10.1.0.2").unlink()
        done = self.cli("verify", code=1)
        self.assertEqual(done.stdout, "edge: 2 addresses, 2 problems\n")
        self.assertIn("edge/state is not a file of superedge-ipam", done.stderr)
        self.assertIn("10.1.0.2 of pod default/web-0 has no file", done.stderr)

    def test_two_holders_are_found(self) -> None:
        with self.store.open("edge") as file:
            file.table.records[0].addresses.append("10.1.0.3")
            file.write()
        done = self.cli("verify", code=1)
        self.assertIn("10.1.0.3 belongs to pod default/web-0 and to pod default/web-1", done.stderr)

    def test_release(self) -> None:
        self.assertIn("nothing is reserved", self.cli("release", "default/none", code=1).stderr)
        self.assertIn(
            "nothing is reserved", self.cli("release", "default/web-1", "--uid", "u9", code=1).stderr
        )
        self.assertEqual(self.cli("release", "default/web-1").stdout, "edge: 10.1.0.3\n")
        refused = self.cli("release", "default/web-0", code=1)
        self.assertIn("pod default/web-0 is attached; --force", refused.stderr)
        self.assertEqual([each.pod for each in self.store.reservations()], ["web-0"])
        self.cli("release", "default/web-0", "--force")
        self.assertEqual(self.store.reservations(), [])
        self.assertIn("is not NAMESPACE/POD", self.cli("release", "web-0", code=2).stderr)

    def test_install(self) -> None:
        target = self.directory / "bin"
        for _ in range(2):
            done = CliRunner().invoke(superedge, ["ipam", "install", "--to", str(target)])
            self.assertEqual((done.exit_code, done.stdout), (0, f"{target}/superedge-ipam\n"))
        self.assertEqual([path.name for path in target.iterdir()], ["superedge-ipam"])
        for python in ("x", "/none", "/usr"):
            wrong = CliRunner().invoke(
                superedge, ["ipam", "install", "--to", str(target), "--python", python]
            )
            self.assertEqual(wrong.exit_code, 2)
