"""What --check warns of, and the log at each start."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import gettempdir
from typing import Any, cast

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from superedge.config.load import load_config
from superedge.config.root import Config
from superedge.tap import warnings
from superedge.tap.compose import compose
from superedge.tls.authority import Authority

EDGE = """
[tunnel_edge]
servers = ["127.0.0.1:1"]
certificate = "edge-1.crt"
key = "edge-1.key"
ca = ["ca.crt"]

[lite_apiserver]
certificate = "edge-1.crt"
key = "edge-1.key"
client_ca = ["ca.crt"]
[lite_apiserver.upstream]
servers = ["127.0.0.1:2"]
ca = ["ca.crt"]
[lite_apiserver.cache]
path = "var/cache"
"""
CLOUD = """
[tunnel_cloud]
certificate = "edge-1.crt"
key = "edge-1.key"
ca = ["ca.crt"]
"""


class WarningTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.authority = Authority.create(self.directory)
        self.authority.issue("edge-1", directory=self.directory)

    def warnings(self, *overrides: str, text: str = EDGE) -> list[str]:
        path = self.directory / "x.toml"
        path.write_text(text)
        composition = compose(load_config(Config, path, overrides), cast(Any, MemoryReactorClock()))
        return [warning.text for warning in composition.warnings()]

    def one(self, *overrides: str, text: str = EDGE) -> str:
        found = self.warnings(*overrides, text=text)
        self.assertEqual(len(found), 1, found)
        return found[0]

    def test_none_of_what_is_right(self) -> None:
        self.assertEqual(self.warnings(), [])
        self.assertEqual(self.warnings(text=CLOUD), [])

    def test_a_certificate_that_is_shown_is_named_with_its_table(self) -> None:
        self.authority.issue(
            "late",
            directory=self.directory,
            not_before=datetime(2020, 1, 1, tzinfo=UTC),
            lifetime=timedelta(1),
        )
        for table in ("tunnel_edge", "lite_apiserver"):
            said = self.one(f"{table}.certificate=late.crt", f"{table}.key=late.key")
            self.assertTrue(
                said.startswith(f"{table}: {self.directory}/late.crt: expired at 2020-01-02"), said
            )
        listener = (
            'kind="connect",listen="127.0.0.1:1",certificate="late.crt",key="late.key",client_ca=["ca.crt"]'
        )
        said = self.one(f"tunnel_cloud.listeners=[{{{listener}}}]", text=CLOUD)
        self.assertTrue(said.startswith("tunnel_cloud.listeners[0]: "), said)

    def test_a_common_name_that_the_other_side_refuses(self) -> None:
        for name in ("system:kube-proxy", "Edge_1"):
            self.authority.issue(name, directory=self.directory, name="other")
            said = self.one("tunnel_edge.certificate=other.crt", "tunnel_edge.key=other.key")
            self.assertIn(f"the common name {name!r} is not a node name", said)
        self.authority.issue("system:node:10.1", directory=self.directory, name="other")
        said = self.one("tunnel_edge.certificate=other.crt", "tunnel_edge.key=other.key")
        self.assertIn("'10.1' is not allowed as a node name", said)
        replicas = 'tunnel_cloud.replicas={ca=["ca.crt"],names=["replica"]}'
        (said, _) = self.warnings(replicas, text=CLOUD)
        self.assertIn("'edge-1', is not among them: other replicas will refuse it", said)

    def test_an_authority_that_is_none(self) -> None:
        self.assertTrue(
            self.one('lite_apiserver.client_ca=["edge-1.crt"]').startswith("lite_apiserver.client_ca: ")
        )

    def test_identities(self) -> None:
        said = self.one('lite_apiserver.identities=["nowhere"]')
        self.assertEqual(
            said,
            f"lite_apiserver.identities: {self.directory}/nowhere: cannot be read: No such file or directory",
        )
        self.authority.issue("kubelet", directory=self.directory / "pairs")
        there = 'lite_apiserver.identities=["pairs"]'
        self.assertEqual(self.warnings(there), [])
        self.assertEqual(
            self.one(there, "lite_apiserver.upstream.probe_identity=nobody"),
            "lite_apiserver.upstream.probe_identity: 'nobody' is not the common name of a pair in identities;"
            " there are: kubelet",
        )
        prefetch = 'lite_apiserver.prefetch=[{identity="proxy",paths=["/api/v1/services"]}]'
        self.assertTrue(self.one(prefetch).startswith("lite_apiserver.prefetch[0].identity: 'proxy'"))
        (self.directory / "pairs/kubelet.key").chmod(0o644)
        self.assertIn("(mode 0644)", self.one(there))

    def test_a_cache_that_cannot_be_kept(self) -> None:
        for path in ("x.toml", "x.toml/cache"):
            said = self.one(f"lite_apiserver.cache.path={path}")
            self.assertTrue(said.endswith("is not writable: the cache is lost when the process ends"), said)
            self.assertEqual(
                self.warnings(f"lite_apiserver.cache.path={path}", "lite_apiserver.cache.store=memory"), []
            )

    def kubernetes(self) -> str:
        """The table kubernetes, with a kubeconfig."""
        cluster = {"server": "https://127.0.0.1:1", "certificate-authority": "ca.crt"}
        kubeconfig = self.directory / "kubeconfig"
        kubeconfig.write_text(
            json.dumps(
                {
                    "current-context": "x",
                    "contexts": [{"name": "x", "context": {"cluster": "c"}}],
                    "clusters": [{"name": "c", "cluster": cluster}],
                }
            )
        )
        kubeconfig.chmod(0o600)
        return '[kubernetes]\nkubeconfig = "kubeconfig"\n'

    def test_files_of_names_that_cannot_be_read(self) -> None:
        table = (
            '[local_dns]\nsnapshot = "x"\nhosts = ["none", "kubeconfig"]\nforward = [{resolv_conf = "."}]\n'
        )
        self.assertEqual(
            self.warnings(text=self.kubernetes() + table),
            [
                f"local_dns.hosts: {self.directory}/none: cannot be read: No such file or directory",
                f"local_dns.forward[0].resolv_conf: {self.directory}: cannot be read: Is a directory",
            ],
        )

    def test_snapshots_that_cannot_be_kept(self) -> None:
        (self.directory / "file").write_text("")
        table = '[network_snapshot]\ndirectory = "file"\nipam = "file"\n'
        said = f"network_snapshot.directory: {self.directory}/file is not writable: there will be nothing"
        self.assertEqual(self.one(text=table), f"{said} to restore")
        table = f'{self.kubernetes()}[network_snapshot]\ndirectory = "x"\nipam = "file"\n'
        said = f"network_snapshot.ipam: {self.directory}/file is not writable, so reservations end by time "
        self.assertEqual(self.one(text=table), f"{said}and pressure only; as root, run superedge ipam share")
        # Shared with a group, this process may write in its networks alone.
        (self.directory / "file").unlink()
        network = self.directory / "file" / "edge"
        network.mkdir(parents=True)
        (network / "state").write_text("")
        self.patch(warnings, "_writable", lambda path: path.stat().st_mode & 0o020)
        self.directory.chmod(0o770)
        for parent, inside, right in ((0o755, 0o775, False), (0o2755, 0o755, False), (0o2755, 0o2775, True)):
            network.parent.chmod(parent)
            network.chmod(inside)
            self.assertEqual(self.warnings(text=table) == [], right)
        self.assertEqual(self.warnings("network_snapshot.release_interval=0", text=table), [])

    def test_a_check_writes_nothing(self) -> None:
        """As root it would make a cache that the service's user cannot write."""
        for store in ("file", "sqlite"):
            self.warnings(f"lite_apiserver.cache.store={store}")
            self.assertFalse((self.directory / "var").exists())

    def test_a_socket_that_cannot_be_made(self) -> None:
        for directory, count in (("/none/such", 1), (gettempdir(), 0)):
            listener = f'tunnel_cloud.listeners=[{{kind="connect",listen="unix:{directory}/s"}}]'
            self.assertEqual(len(self.warnings(listener, text=CLOUD)), count)

    def test_what_nothing_uses(self) -> None:
        (self.directory / "password").write_text("a:b\n")
        (self.directory / "password").chmod(0o600)
        self.assertIn("tunnel_edge.proxy is not set", self.one("tunnel_edge.proxy_credentials=password"))
        replicas = 'tunnel_cloud.replicas={ca=["ca.crt"],names=["edge-1"]}'
        self.assertIn('without registry = "kubernetes"', self.one(replicas, text=CLOUD))
        self.assertIn("nothing will run", self.one(text=""))

    def test_an_edge_that_allows_everything(self) -> None:
        self.assertIn("'*:*' lets the cloud reach every address", self.one('tunnel_edge.allow=["*:*"]'))

    def test_a_password_that_all_may_read(self) -> None:
        (self.directory / "password").write_text("a:b\n")
        (self.directory / "password").chmod(0o644)
        said = self.one("tunnel_edge.proxy=http://p:1", "tunnel_edge.proxy_credentials=password")
        self.assertTrue(said.startswith("tunnel_edge.proxy_credentials: "), said)
