"""etcd, kube-apiserver, controllers and scheduler as processes on loopback, their state in one directory."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from superedge.testing.ports import free_port
from superedge.tls.authority import Authority
from superedge.tls.identity import Identity
from tests.controlplane.build import BINARY, CACHE

SERVICE_NETWORK = "10.96.0.0/16"
READY_WITHIN = 90.0


class ClusterError(Exception):
    """A component that does not do what it should."""


class Cluster:
    """A cluster under ``directory``.

    ``cluster.json`` holds the server's address and, for each component, its arguments and process id;
    ``pki/`` the certificates; ``admin.kubeconfig`` is for kubectl. The API server listens on ``host``; with
    ``within``, a network namespace's name, it and etcd run in there.
    """

    def __init__(self, directory: Path, host: str = "127.0.0.1", within: str = "") -> None:
        self.directory = directory.resolve()
        self.host = host
        self._within = ["ip", "netns", "exec", within] if within else []
        self.pki = self.directory / "pki"
        self._state_file = self.directory / "cluster.json"
        self.state: dict[str, Any] = {"components": {}}
        if self._state_file.exists():
            self.state = json.loads(self._state_file.read_text())

    @property
    def server(self) -> str:
        """The API server's URL."""
        return str(self.state["server"])

    @property
    def port(self) -> int:
        """The API server's port."""
        return int(self.server.rpartition(":")[2])

    def save(self) -> None:
        """Write cluster.json."""
        self._state_file.write_text(json.dumps(self.state, indent=1))

    # -- identities

    def certificate(
        self, name: str, organizations: Sequence[str] = (), dns: Sequence[str] = (), file: str = ""
    ) -> Identity:
        """A pair ``pki/FILE.crt`` and ``.key``, good for clients and for servers on loopback."""
        stem = file or name.replace(":", "_")
        authority = Authority.load(self.pki)
        addresses = sorted({"127.0.0.1", self.host, "10.96.0.1"})
        return authority.issue(name, organizations, dns, addresses, directory=self.pki, name=stem)

    def kubeconfig(self, identity: Identity, path: Path, server: str = "") -> Path:
        """A kubeconfig for a pair; ``server`` is by default the API server."""
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "default",
            "clusters": [
                {
                    "name": "cluster",
                    "cluster": {
                        "server": server or self.server,
                        "certificate-authority": str(self.pki / "ca.crt"),
                    },
                }
            ],
            "users": [
                {
                    "name": "user",
                    "user": {
                        "client-certificate": str(identity.certificate),
                        "client-key": str(identity.key),
                    },
                }
            ],
            "contexts": [{"name": "default", "context": {"cluster": "cluster", "user": "user"}}],
        }
        path.write_text(json.dumps(content))
        return path

    def _service_account_keys(self) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        descriptor = os.open(self.pki / "sa.key", os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(private)
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (self.pki / "sa.pub").write_bytes(public)

    # -- processes

    def spawn(self, name: str, *command: str | Path) -> None:
        """Start a component; its output goes to NAME.log."""
        argv = [str(part) for part in command]
        with (self.directory / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                argv,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self.directory,
                env={**os.environ, "PATH": f"{CACHE}:{os.environ['PATH']}"},
            )
        self.state["components"][name] = {"argv": argv, "pid": process.pid}
        self.save()

    def start(self, name: str) -> None:
        """Start a component again as it was."""
        self.spawn(name, *self.state["components"][name]["argv"])

    def stop(self, name: str, sign: signal.Signals = signal.SIGTERM) -> None:
        """End a component; SIGKILL follows when it does not go."""
        pid = self.state["components"][name]["pid"]
        for each, seconds in ((sign, 5.0), (signal.SIGKILL, 5.0)):
            try:
                os.kill(pid, each)
            except ProcessLookupError:
                return
            if process_gone(pid, seconds):
                return
        raise ClusterError(f"{name} (process {pid}) does not end")

    def stop_all(self) -> None:
        """End every component, the last started first."""
        for name in reversed(list(self.state["components"])):
            self.stop(name)

    # -- the control plane

    def up(
        self,
        port: int = 0,
        controllers: bool = False,
        apiserver_arguments: Sequence[str] = (),
        controller_arguments: Sequence[str] = (),
    ) -> None:
        """Make certificates, start, and wait until the API server is ready. Raises ClusterError."""
        self.directory.mkdir(parents=True, exist_ok=True)
        Authority.create(self.pki, "test-cluster-ca")
        self._service_account_keys()
        self.state["server"] = f"https://{self.host}:{port or free_port()}"
        names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
        self.certificate("kube-apiserver", dns=names, file="apiserver")
        self.certificate("kube-apiserver-kubelet-client", ["system:masters"], file="apiserver-kubelet-client")
        admin = self.certificate("admin", ["system:masters"])
        self.kubeconfig(admin, self.directory / "admin.kubeconfig")
        self._start_etcd_and_apiserver(apiserver_arguments)
        self.wait_until_ready()
        if controllers:
            self._start_controllers(controller_arguments)

    def _start_etcd_and_apiserver(self, extra: Sequence[str]) -> None:
        client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        self.spawn(
            "etcd",
            *self._within,
            BINARY,
            "etcd",
            f"--data-dir={self.directory}/etcd",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        )
        pki = self.pki
        # Without a default route it finds no address of its own to advertise.
        own = [f"--advertise-address={self.host}"] if self._within else []
        self.spawn(
            "kube-apiserver",
            *self._within,
            BINARY,
            "kube-apiserver",
            f"--etcd-servers={client}",
            f"--secure-port={self.port}",
            f"--bind-address={self.host}",
            *own,
            f"--client-ca-file={pki}/ca.crt",
            f"--tls-cert-file={pki}/apiserver.crt",
            f"--tls-private-key-file={pki}/apiserver.key",
            "--authorization-mode=Node,RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki}/sa.pub",
            f"--service-account-signing-key-file={pki}/sa.key",
            f"--service-cluster-ip-range={SERVICE_NETWORK}",
            f"--kubelet-certificate-authority={pki}/ca.crt",
            f"--kubelet-client-certificate={pki}/apiserver-kubelet-client.crt",
            f"--kubelet-client-key={pki}/apiserver-kubelet-client.key",
            "--kubelet-preferred-address-types=Hostname,InternalIP",
            "--allow-privileged",
            *extra,
        )

    def back_up(self) -> None:
        """Keep what etcd holds now; the API server is away meanwhile."""
        self._replace(self.directory / "etcd", self.directory / "backup")

    def restore(self) -> None:
        """Go back to what was backed up: versions from since then are given out again."""
        self._replace(self.directory / "backup", self.directory / "etcd")

    def _replace(self, source: Path, target: Path) -> None:
        for name in ("kube-apiserver", "etcd"):
            self.stop(name)
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
        for name in ("etcd", "kube-apiserver"):
            self.start(name)
        self.wait_until_ready()

    def _start_controllers(self, extra: Sequence[str]) -> None:
        for name in ("kube-controller-manager", "kube-scheduler"):
            user = f"system:{name}"
            config = self.kubeconfig(self.certificate(user, [user]), self.directory / f"{name}.kubeconfig")
            own: Sequence[str] = ()
            if name == "kube-controller-manager":
                own = (
                    f"--root-ca-file={self.pki}/ca.crt",
                    f"--service-account-private-key-file={self.pki}/sa.key",
                    f"--cluster-signing-cert-file={self.pki}/ca.crt",
                    f"--cluster-signing-key-file={self.pki}/ca.key",
                    "--use-service-account-credentials",
                    *extra,
                )
            self.spawn(
                name,
                BINARY,
                name,
                f"--kubeconfig={config}",
                "--leader-elect=false",
                f"--secure-port={free_port()}",
                "--bind-address=127.0.0.1",
                *own,
            )

    def is_ready(self) -> bool:
        """Whether the API server says so."""
        context = ssl.create_default_context(cafile=str(self.pki / "ca.crt"))
        context.load_cert_chain(self.pki / "admin.crt", self.pki / "admin.key")
        connection = http.client.HTTPSConnection(self.host, self.port, context=context, timeout=2)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def wait_until_ready(self) -> None:
        """Raises ClusterError when that takes too long."""
        end = time.monotonic() + READY_WITHIN
        while not self.is_ready():
            if time.monotonic() > end:
                raise ClusterError(
                    f"not ready within {READY_WITHIN:g} s; see {self.directory}/kube-apiserver.log"
                )
            time.sleep(0.2)


def process_gone(pid: int, seconds: float) -> bool:
    """Whether a process ends within some seconds, a child of ours or not."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if os.waitpid(pid, os.WNOHANG)[0]:
                return True
        except ChildProcessError:
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return True
        time.sleep(0.05)
    return False
