"""The single file as a process: what it imports, kill -9, many at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from superedge.netsnapshot.ipam import singlefile
from superedge.netsnapshot.ipam.store import Store
from superedge.netsnapshot.ipam.verification import problems

KILLS = 20
AT_ONCE = 30
SLOW_TO_IMPORT = {
    "re",
    "enum",
    "json",
    "socket",
    "collections",
    "typing",
    "runpy",
    "ipaddress",
    "pathlib",
    "os",
}


class SingleFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.program = self.directory / "bin" / singlefile.NAME
        singlefile.install(self.program, singlefile.interpreter())

    def start(self, command: str, container: str, pod: str) -> subprocess.Popen[bytes]:
        document = {
            "cniVersion": "1.0.0",
            "name": "edge",
            "ipam": {"dataDir": str(self.directory / "data"), "ranges": [[{"subnet": "10.1.0.0/24"}]]},
        }
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": "/run/netns/x",
            "CNI_IFNAME": "eth0",
            "CNI_ARGS": f"K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod};K8S_POD_UID=u-{pod}",
        }
        pipe = subprocess.PIPE
        process = subprocess.Popen([str(self.program)], env=environment, stdin=pipe, stdout=pipe)
        assert process.stdin is not None
        process.stdin.write(json.dumps(document).encode())
        process.stdin.close()
        self.addCleanup(process.wait)
        return process

    def finish(self, process: subprocess.Popen[bytes]) -> Any:
        """The answer; None when it was killed or has none."""
        assert process.stdout is not None
        with process.stdout:
            text = process.stdout.read()
        code = process.wait()
        self.assertIn(code, (0, -signal.SIGKILL), text)
        return json.loads(text) if code == 0 and text else None

    def address(self, answer: Any) -> str:
        return str(answer["ips"][0]["address"])

    def test_it_imports_little(self) -> None:
        with self.program.open("rb") as file:
            _, argument = file.readline().decode().rstrip().split(" ", 1)
        command = [sys.executable, "-X", "importtime", argument, str(self.program)]
        done = subprocess.run(command, env={}, capture_output=True, text=True, check=False)
        loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        self.assertEqual(json.loads(done.stdout)["code"], 4)
        self.assertIn("_json", loaded)
        self.assertEqual(loaded & SLOW_TO_IMPORT, set())

    def test_this_version_of_python_does_not_read_the_archive(self) -> None:
        data = self.program.read_bytes()
        self.program.write_bytes(data[: data.rindex(b"PK\x03\x04")])
        self.assertEqual(self.address(self.finish(self.start("ADD", "c1", "a"))), "10.1.0.2/24")

    def test_another_version_of_python_runs_the_source(self) -> None:
        data = self.program.read_bytes()
        magic = repr(MAGIC_NUMBER).encode()
        self.assertEqual(data.count(magic), 1)
        self.program.write_bytes(data.replace(magic, b"b'other'".ljust(len(magic))))
        self.assertEqual(self.address(self.finish(self.start("ADD", "c1", "a"))), "10.1.0.2/24")

    def test_it_is_an_archive_that_an_interpreter_can_run_too(self) -> None:
        self.assertTrue(os.access(self.program, os.X_OK))
        command = [sys.executable, "-IS", str(self.program)]
        done = subprocess.run(
            command, env={"CNI_COMMAND": "VERSION"}, input=b"", capture_output=True, check=True
        )
        self.assertIn("1.1.0", json.loads(done.stdout)["supportedVersions"])

    def test_by_hand_it_does_not_wait_for_input(self) -> None:
        pipe = subprocess.PIPE
        with subprocess.Popen([str(self.program)], env={}, stdin=pipe, stdout=pipe) as process:
            assert process.stdout is not None
            answer = json.loads(process.stdout.read())
        self.assertEqual((process.returncode, answer["code"]), (1, 4))

    def test_a_path_that_a_script_cannot_name(self) -> None:
        for python in ("python3", "/a b/python3", "/" + "x" * 127):
            problem = self.assertRaises(ValueError, singlefile.build, python)
            self.assertIn("must be an absolute path without spaces", str(problem))
        self.assertEqual([path.name for path in self.program.parent.iterdir()], [singlefile.NAME])

    def test_many_at_once(self) -> None:
        started = [self.start("ADD", f"c{number}", f"p{number}") for number in range(AT_ONCE)]
        found = {self.address(self.finish(each)) for each in started}
        self.assertEqual(len(found), AT_ONCE)

    def test_kill_9_at_any_instant_costs_no_address(self) -> None:
        chance = Random(18)
        held: dict[str, str] = {}
        for number in range(KILLS):
            pod = f"p{number % 5}"
            process = self.start(chance.choice(["ADD", "ADD", "DEL"]), f"c{number}", pod)
            try:
                process.wait(chance.uniform(0.005, 0.04))
            except subprocess.TimeoutExpired:
                process.kill()
            self.finish(process)
            found = self.address(self.finish(self.start("ADD", f"d{number}", pod)))
            self.assertEqual(held.setdefault(pod, found), found)
            self.assertEqual(len(set(held.values())), len(held))
        with Store(str(self.directory / "data")).open("edge") as file:
            self.assertEqual((file.damage(), problems(file.table, file.files, [])), ([], []))
