"""deploy/: what the units and manifests say agrees with the configuration and with themselves."""

from __future__ import annotations

import configparser
import tomllib
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from superedge.config.addresses import TCPAddress, parse_address
from superedge.config.liteapiserver import CacheConfig
from superedge.config.load import convert
from superedge.config.root import Config
from superedge.tap import cloud, edge

DEPLOY = Path(__file__).parents[2] / "deploy"


class SystemdTests(SynchronousTestCase):
    def service(self, name: str) -> configparser.SectionProxy:
        parser = configparser.ConfigParser(interpolation=None, strict=True)
        parser.optionxform = str  # type: ignore[assignment]
        parser.read_string((DEPLOY / "systemd" / f"{name}.service").read_text())
        return parser["Service"]

    def test_commands_are_accepted_and_read_the_default_file(self) -> None:
        for options in (cloud.Options(), edge.Options()):
            service = self.service(options.command)
            command = f"{options.command} --config {options['config']}"
            self.assertEqual(
                service["ExecStart"], f"/opt/superedge/bin/twistd --nodaemon --pidfile= {command}"
            )
            self.assertEqual(service["ExecStartPre"], f"/opt/superedge/bin/twistd {command} --check")

    def test_both_are_hardened_alike(self) -> None:
        own = {"ExecStart", "ExecStartPre", "TimeoutStopSec", "RuntimeDirectory", "RuntimeDirectoryMode"}
        own |= {"StateDirectory", "StateDirectoryMode"}
        one, two = (
            {key: value for key, value in self.service(name).items() if key not in own}
            for name in ("superedge-cloud", "superedge-edge")
        )
        self.assertEqual(one, two)
        self.assertEqual((one["NoNewPrivileges"], one["CapabilityBoundingSet"]), ("yes", ""))

    def test_the_cache_has_a_place(self) -> None:
        service = self.service("superedge-edge")
        self.assertEqual((service["StateDirectory"], service["StateDirectoryMode"]), ("superedge", "0700"))
        self.assertEqual(CacheConfig().path, Path("/var/lib/superedge/cache"))

    def test_there_is_time_to_drain(self) -> None:
        path = DEPLOY.parent / "conf/cloud.toml"
        config = convert(Config, tomllib.loads(path.read_text()), str(path), path.parent).tunnel_cloud
        assert config is not None
        self.assertGreater(int(self.service("superedge-cloud")["TimeoutStopSec"]), config.drain_timeout)
        self.assertEqual(self.service("superedge-cloud")["RuntimeDirectory"], "superedge")
        self.assertIn("unix:/run/superedge/egress.sock", [listener.listen for listener in config.listeners])


class KubernetesTests(SynchronousTestCase):
    def setUp(self) -> None:
        documents: list[dict[str, Any]] = list(
            yaml.safe_load_all((DEPLOY / "kubernetes/cloud.yaml").read_text())
        )
        self.found = {(item["kind"], item["metadata"]["name"]): item for item in documents}
        self.pod = self.found["Deployment", "superedge-cloud"]["spec"]["template"]["spec"]
        (self.container,) = self.pod["containers"]
        text = self.found["ConfigMap", "superedge-cloud"]["data"]["cloud.toml"]
        self.config = convert(Config, tomllib.loads(text), "cloud.toml", Path("/etc/superedge"))

    def test_ports_are_those_of_the_configuration(self) -> None:
        tunnel, ops = self.config.tunnel_cloud, self.config.ops
        assert tunnel is not None and ops is not None
        ports = {port["name"]: port["containerPort"] for port in self.container["ports"]}
        wanted = {"tunnel": tunnel.listen, "ops": ops.listen, "egress": tunnel.listeners[0].listen}
        for name, listen in wanted.items():
            address = parse_address(listen)
            assert isinstance(address, TCPAddress)
            self.assertEqual((address.host, address.port), ("0.0.0.0", ports[name]))
        for service in ("superedge-tunnel", "superedge-egress"):
            for port in self.found["Service", service]["spec"]["ports"]:
                self.assertEqual(port["port"], ports[port["targetPort"]])
        for probe in ("readinessProbe", "livenessProbe"):
            self.assertIn(self.container[probe]["httpGet"]["port"], ports)

    def test_only_the_tunnel_is_open_to_the_world(self) -> None:
        service = self.found["Service", "superedge-tunnel"]["spec"]
        self.assertEqual([port["name"] for port in service["ports"]], ["tunnel"])
        self.assertNotIn("type", self.found["Service", "superedge-egress"]["spec"])

    def test_every_file_is_mounted_from_a_named_secret(self) -> None:
        tunnel = self.config.tunnel_cloud
        assert tunnel is not None
        (listener,) = tunnel.listeners
        files = [tunnel.certificate, tunnel.key, *tunnel.ca, *listener.client_ca]  # type: ignore[union-attr]
        mounts = {Path(mount["mountPath"]): mount["name"] for mount in self.container["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in self.pod["volumes"]}
        secrets = {volumes[mounts[path.parent]]["secret"]["secretName"] for path in files}
        self.assertEqual(secrets, {"superedge-tunnel", "superedge-edge-ca", "superedge-egress-ca"})
        comment = (DEPLOY / "kubernetes/cloud.yaml").read_text().split("apiVersion", 1)[0]
        for secret in secrets:
            self.assertIn(f" {secret} --", comment)
        self.assertIn(Path(self.container["command"][-1]), mounts)

    def test_there_is_time_to_drain(self) -> None:
        assert self.config.tunnel_cloud is not None
        self.assertGreater(self.pod["terminationGracePeriodSeconds"], self.config.tunnel_cloud.drain_timeout)

    def test_one_replica_while_nodes_are_known_locally(self) -> None:
        assert self.config.tunnel_cloud is not None
        self.assertEqual(self.config.tunnel_cloud.registry, "local")
        spec = self.found["Deployment", "superedge-cloud"]["spec"]
        self.assertEqual((spec["replicas"], spec["strategy"]["type"]), (1, "Recreate"))
