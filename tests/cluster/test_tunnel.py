"""kubectl, a real API server with an egress selector, the tunnel, a real kubelet."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import IO, Any

from superedge.testing.ports import free_port
from superedge.tls.authority import Authority
from tests.cluster.environment import Environment, EnvironmentCase, wait_until

NODE = "shop-1"
POD = "web"


def read_lines(stream: IO[bytes], count: int, seconds: float = 20.0) -> list[str]:
    """The next lines of a process that goes on."""
    lines: list[str] = []
    end = time.monotonic() + seconds
    while len(lines) < count:
        if not select.select([stream], [], [], max(0.0, end - time.monotonic()))[0]:
            raise AssertionError(f"{len(lines)} of {count} lines within {seconds:g} s: {lines}")
        line = stream.readline()
        if not line:
            raise AssertionError(f"it ended after {lines}")
        lines.append(line.decode().rstrip())
    return lines


class UnixSocketTests(EnvironmentCase):
    """The API server reaches the `connect` listener through a Unix socket."""

    @classmethod
    def listener(cls, environment: Environment, authority: Authority) -> tuple[str, dict[str, Any]]:
        """The listener's table and the API server's transport to it."""
        path = environment.directory / "egress.sock"
        return f'listen = "unix:{path}"', {"uds": {"udsName": str(path)}}

    @classmethod
    def prepare(cls, environment: Environment) -> None:
        pki = environment.directory / "pki"
        authority = Authority.create(pki)
        for name in ("tunnel", f"system:node:{NODE}"):
            authority.issue(name, dns=["localhost"], ips=["127.0.0.1"], directory=pki)
        listener, transport = cls.listener(environment, authority)
        port = free_port()
        environment.twistd(
            "cloud",
            "superedge-cloud",
            f"""[tunnel_cloud]
listen = "127.0.0.1:{port}"
certificate = "pki/tunnel.crt"
key = "pki/tunnel.key"
ca = ["pki/ca.crt"]
[[tunnel_cloud.listeners]]
kind = "connect"
{listener}
""",
        )
        egress = environment.directory / "egress.json"
        connection = {"proxyProtocol": "HTTPConnect", "transport": transport}
        egress.write_text(
            json.dumps(
                {
                    "apiVersion": "apiserver.k8s.io/v1beta1",
                    "kind": "EgressSelectorConfiguration",
                    "egressSelections": [{"name": "cluster", "connection": connection}],
                }
            )
        )
        environment.cluster.up(
            controllers=True, apiserver_arguments=[f"--egress-selector-config-file={egress}"]
        )
        worker = environment.worker(NODE)
        environment.twistd(
            "edge",
            "superedge-edge",
            f"""[tunnel_edge]
drain_timeout = 1.0
servers = ["127.0.0.1:{port}"]
certificate = "pki/system-node-{NODE}.crt"
key = "pki/system-node-{NODE}.key"
ca = ["pki/ca.crt"]
allow = ["127.0.0.1:{worker.port}"]
reconnect_initial = 0.2
""",
        )
        environment.run_pod(POD, NODE)
        wait_until(lambda: environment.try_kubectl("logs", POD).returncode == 0, "the tunnel is up")

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(self.environment.command(*arguments), stdout=subprocess.PIPE, **options)
        self.addCleanup(self._end, process)
        return process

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()

    def test_logs_follow(self) -> None:
        process = self.start("logs", "-f", "--tail=1", POD, bufsize=0)
        assert process.stdout is not None
        numbers = [int(line.split()[1]) for line in read_lines(process.stdout, 4)]
        self.assertEqual(numbers, list(range(numbers[0], numbers[0] + 4)))

    def test_exec_with_a_terminal(self) -> None:
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            self.environment.command("exec", "-it", POD, "--", "sh"),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        self.addCleanup(os.close, ours)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        said = b""
        os.write(ours, b"echo $((6*7)); tty; exit 3\n")
        end = time.monotonic() + 20
        while b"42\r\n" not in said or b"/dev/pts/" not in said:
            self.assertTrue(select.select([ours], [], [], max(0, end - time.monotonic()))[0], said)
            said += os.read(ours, 4096)
        self.assertEqual(process.wait(20), 3)

    def test_exec_carries_bytes_both_ways(self) -> None:
        data = os.urandom(300_000).hex()
        self.assertEqual(self.environment.kubectl("exec", "-i", POD, "--", "cat", stdin=data), data)

    def test_many_at_once(self) -> None:
        processes = [self.start("exec", POD, "--", "echo", str(number)) for number in range(10)]
        said = [process.communicate(timeout=60)[0].decode().strip() for process in processes]
        self.assertEqual(said, [str(number) for number in range(10)])

    def test_cp(self) -> None:
        there = Path(self.mktemp())
        there.write_bytes(os.urandom(1_000_000))
        back = Path(self.mktemp())
        self.environment.kubectl("cp", str(there), f"{POD}:/tmp/copied")
        self.environment.kubectl("cp", f"{POD}:/tmp/copied", str(back))
        self.assertEqual(there.read_bytes(), back.read_bytes())

    def test_attach(self) -> None:
        process = self.start("attach", POD, bufsize=0, stderr=subprocess.DEVNULL)
        assert process.stdout is not None
        self.assertTrue(all(line.startswith("tick ") for line in read_lines(process.stdout, 2)))

    def test_port_forward(self) -> None:
        self.environment.kubectl("exec", POD, "--", "sh", "-c", "echo served > /tmp/page")
        process = self.start("port-forward", f"pod/{POD}", ":8080", bufsize=0)
        assert process.stdout is not None
        (line,) = read_lines(process.stdout, 1)
        port = int(line.split("127.0.0.1:")[1].split()[0])
        for _ in range(3):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/page", timeout=20) as answer:
                self.assertEqual(answer.read(), b"served\n")

    def test_the_edge_process_is_killed(self) -> None:
        self.environment.end("edge", signal.SIGKILL)
        done = self.environment.try_kubectl("logs", POD)
        self.assertNotEqual(done.returncode, 0)
        self.environment.twistd("edge", "superedge-edge")
        wait_until(lambda: self.environment.try_kubectl("logs", POD).returncode == 0, "the edge is back", 30)

    def test_a_node_that_is_not_connected(self) -> None:
        done = self.environment.try_kubectl("get", "--raw", "/api/v1/nodes/nowhere/proxy/healthz")
        self.assertNotEqual(done.returncode, 0)


class MutualTLSTests(UnixSocketTests):
    """The API server reaches the `connect` listener over TCP, both sides with certificates."""

    @classmethod
    def listener(cls, environment: Environment, authority: Authority) -> tuple[str, dict[str, Any]]:
        pki = environment.directory / "pki"
        client = authority.issue("kube-apiserver", directory=pki, name="egress-client")
        port = free_port()
        table = f"""listen = "127.0.0.1:{port}"
certificate = "pki/tunnel.crt"
key = "pki/tunnel.key"
client_ca = ["pki/ca.crt"]
client_names = ["kube-apiserver"]"""
        tls = {
            "caBundle": f"{pki}/ca.crt",
            "clientCert": str(client.certificate),
            "clientKey": str(client.key),
        }
        return table, {"tcp": {"url": f"https://127.0.0.1:{port}", "tlsConfig": tls}}
