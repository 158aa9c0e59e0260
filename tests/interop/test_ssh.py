"""OpenSSH's client reaches OpenSSH's server on a node by ProxyCommand."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import sys
from pathlib import Path

from superedge.testing.ports import free_port
from tests.faults.world import BLOCK, FaultCase, Target, wait_until

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/bin:/sbin")


class SSHTests(FaultCase):
    def setUp(self) -> None:
        super().setUp()
        if SSHD is None or shutil.which("ssh") is None:
            self.fail("openssh-server and openssh-client are needed")
        self.sshd_port = free_port()
        self.start_sshd()
        self.door = free_port()
        self.authority.issue("operator", directory=self.pki)
        self.authority.issue("stranger", directory=self.pki)
        self.cloud(
            f"""
[[tunnel_cloud.listeners]]
kind = "connect"
listen = "127.0.0.1:{self.door}"
certificate = "pki/tunnel.crt"
key = "pki/tunnel.key"
client_ca = ["pki/ca.crt"]
client_names = ["operator"]
"""
        )
        self.edge("shop-1", self.sshd_port)
        self.wait_for("shop-1", self.sshd_port)

    def start_sshd(self) -> None:
        home = self.directory / "ssh"
        home.mkdir(mode=0o700)
        for name in ("host", "user"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / name)]
            subprocess.run(command, check=True)
        shutil.copy(home / "user.pub", home / "authorized")
        config = home / "sshd_config"
        config.write_text(
            f"""ListenAddress 127.0.0.1:{self.sshd_port}
HostKey {home}/host
AuthorizedKeysFile {home}/authorized
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
Subsystem sftp internal-sftp
"""
        )
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        log = (self.directory / "sshd.log").open("wb")
        self.addCleanup(log.close)
        assert SSHD is not None
        self.processes["sshd"] = subprocess.Popen([SSHD, "-D", "-e", "-f", str(config)], stderr=log)
        wait_until(lambda: b"listening" in (self.directory / "sshd.log").read_bytes(), "sshd listens")

    def options(self, listener: str, who: str = "operator") -> list[str]:
        command = f"{sys.executable} -m superedge.cli.connect"
        if not listener.startswith("unix:"):
            command += (
                f" --certificate {self.pki}/{who}.crt --key {self.pki}/{who}.key --ca {self.pki}/ca.crt"
            )
        home = self.directory / "ssh"
        known = home / "known_hosts"
        known.write_text(f"shop-1 {(home / 'host.pub').read_text()}")
        settings = {
            "ProxyCommand": f"{command} {listener} %h {self.sshd_port}",
            "IdentityFile": home / "user",
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": known,
            "StrictHostKeyChecking": "yes",
            "HostKeyAlias": "shop-1",
            "User": getpass.getuser(),
            "BatchMode": "yes",
        }
        return ["-F", "none", *(f"-o{name}={value}" for name, value in settings.items())]

    def ssh(
        self, listener: str, *command: str, data: bytes = b"", node: str = "shop-1", who: str = "operator"
    ) -> subprocess.CompletedProcess[bytes]:
        line = ["ssh", *self.options(listener, who), node, *command]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        return subprocess.run(line, input=data, capture_output=True, timeout=60, check=False, env=environment)

    def test_commands_over_tls_and_over_a_unix_socket(self) -> None:
        for listener in (f"127.0.0.1:{self.door}", f"unix:{self.directory}/door"):
            done = self.ssh(listener, "cat; exit 7", data=BLOCK)
            self.assertEqual((done.returncode, done.stderr), (7, b""))
            self.assertEqual(done.stdout, BLOCK)

    def test_files(self) -> None:
        source, copy = self.directory / "source", self.directory / "copy"
        source.write_bytes(BLOCK)
        options = self.options(f"127.0.0.1:{self.door}")
        subprocess.run(["scp", "-q", *options, str(source), f"shop-1:{copy}"], check=True, timeout=60)
        self.assertEqual(copy.read_bytes(), BLOCK)

    def test_who_and_what_is_not_let_through(self) -> None:
        listener = f"127.0.0.1:{self.door}"
        done = self.ssh(listener, "true", who="stranger")
        self.assertEqual(done.returncode, 255)
        self.assertIn(b"403 client: 'stranger' is not in client_names", done.stderr)
        done = self.ssh(listener, "true", node="shop-9")
        self.assertIn(b"404 no connected node is called shop-9", done.stderr)
        target = Target(lambda sock: None)
        self.addCleanup(target.close)
        self.sshd_port = target.port
        done = self.ssh(listener, "true")
        self.assertIn(b"403 denied: the node's allow list does not name", done.stderr)
        self.sshd_port = 1
        done = self.ssh("127.0.0.1:1", "true")
        self.assertIn(b"superedge-connect: cannot connect to 127.0.0.1:1: Connection refused", done.stderr)
