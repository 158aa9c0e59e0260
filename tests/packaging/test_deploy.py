"""deploy/: what the units and manifests say agrees with the configuration and with themselves."""

from __future__ import annotations

import configparser
import json
import re
import tomllib
from pathlib import Path
from typing import Any, cast

import yaml
from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from superedge.cli.main import superedge
from superedge.cli.netrestore import CONFIG, EXIT_NO_SNAPSHOT
from superedge.config.addresses import TCPAddress, parse_address
from superedge.config.listening import listening
from superedge.config.liteapiserver import CacheConfig
from superedge.config.load import convert
from superedge.config.root import Config
from superedge.errors import EXIT_CONFIG
from superedge.netsnapshot.ipam.configuration import VERSIONS, Network, range_sets, routes_of
from superedge.tap import cloud, edge

DEPLOY = Path(__file__).parents[2] / "deploy"
PAIR = {"certificate": "x", "key": "x"}


class SystemdTests(SynchronousTestCase):
    def service(self, name: str) -> configparser.SectionProxy:
        parser = configparser.ConfigParser(interpolation=None, strict=True)
        parser.optionxform = str  # type: ignore[assignment]
        parser.read_string((DEPLOY / "systemd" / f"{name}.service").read_text())
        return parser["Service"]

    def test_commands_are_accepted_and_read_the_default_file(self) -> None:
        for options in (cloud.Options(), edge.Options()):
            service = self.service(options.command)
            end = options.command.removeprefix("superedge-")
            command = ["/opt/superedge/bin/superedge", end, "--strict", "--config", str(options["config"])]
            self.assertEqual(service["ExecStart"].split(), command)
            said = CliRunner().invoke(superedge, [*command[1:3], "--help"]).stdout
            self.assertIn(str(options["config"]), said)

    def test_a_configuration_fault_ends_the_service(self) -> None:
        for name in ("superedge-cloud", "superedge-edge"):
            self.assertEqual(self.service(name)["RestartPreventExitStatus"], str(EXIT_CONFIG))

    def test_both_are_hardened_alike(self) -> None:
        own = {"ExecStart", "TimeoutStopSec", "RuntimeDirectory", "RuntimeDirectoryMode"}
        own |= {"StateDirectory", "StateDirectoryMode", "ReadWritePaths"}
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

    def test_the_network_is_restored_before_the_runtime_and_with_no_more_than_it_takes(self) -> None:
        service = self.service("superedge-netrestore")
        command = ["/opt/superedge/bin/superedge", "netrestore", "--wait", "30", "--config", str(CONFIG)]
        self.assertEqual(service["ExecStart"].split(), command)
        self.assertLess(int(command[3]), int(service["TimeoutStartSec"]))
        self.assertEqual(service["SuccessExitStatus"], str(EXIT_NO_SNAPSHOT))
        text = (DEPLOY / "systemd/superedge-netrestore.service").read_text()
        (before,) = re.findall(r"^Before=(.*)$", text, re.MULTILINE)
        units = {"containerd.service", "crio.service", "kubelet.service", "superedge-edge.service"}
        self.assertLess(units | {"k3s.service", "k3s-agent.service"}, set(before.split()))
        self.assertIn("\nAfter=network-online.target\n", text)
        self.assertEqual(service["CapabilityBoundingSet"], "CAP_NET_ADMIN CAP_DAC_OVERRIDE")
        self.assertIn("AF_NETLINK", service["RestrictAddressFamilies"])

    def test_the_usual_ports_are_reserved(self) -> None:
        text = (DEPLOY / "sysctl/superedge.conf").read_text()
        (begin, end) = re.findall(r"^net\.ipv4\.ip_local_reserved_ports = (\d+)-(\d+)$", text, re.MULTILINE)[
            0
        ]
        config = convert(
            Config,
            {
                "ops": {},
                "tunnel_cloud": {**PAIR, "ca": ["x"], "replicas": {"ca": ["x"], "names": ["x"]}},
                "lite_apiserver": {**PAIR, "client_ca": ["x"], "upstream": {"servers": ["x:1"], "ca": ["x"]}},
            },
            "x.toml",
            Path("/x"),
        )
        ports = {cast(TCPAddress, address).port for _, address in listening(config)}
        self.assertEqual(len(ports), 4)
        self.assertEqual([port for port in ports if not int(begin) <= port <= int(end)], [])

    def test_there_is_time_to_drain(self) -> None:
        path = DEPLOY.parent / "conf/cloud.toml"
        config = convert(Config, tomllib.loads(path.read_text()), str(path), path.parent).tunnel_cloud
        assert config is not None
        self.assertGreater(int(self.service("superedge-cloud")["TimeoutStopSec"]), config.drain_timeout)
        path = DEPLOY.parent / "conf/edge.toml"
        edge = convert(Config, tomllib.loads(path.read_text()), str(path), path.parent).tunnel_edge
        assert edge is not None
        self.assertGreater(int(self.service("superedge-edge")["TimeoutStopSec"]), edge.drain_timeout)
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


class ReplicasTests(SynchronousTestCase):
    """The manifest of several replicas."""

    def setUp(self) -> None:
        self.text = (DEPLOY / "kubernetes/replicas.yaml").read_text()
        documents: list[dict[str, Any]] = list(yaml.safe_load_all(self.text))
        self.found = {(item["kind"], item["metadata"]["name"]): item for item in documents}
        self.spec = self.found["Deployment", "superedge-cloud"]["spec"]
        self.pod = self.spec["template"]["spec"]
        (self.container,) = self.pod["containers"]
        text = self.found["ConfigMap", "superedge-cloud"]["data"]["cloud.toml"]
        self.config = convert(Config, tomllib.loads(text), "cloud.toml", Path("/etc/superedge"))
        assert self.config.tunnel_cloud is not None and self.config.tunnel_cloud.replicas is not None
        self.tunnel, self.replicas = self.config.tunnel_cloud, self.config.tunnel_cloud.replicas

    def test_ports_are_those_of_the_configuration(self) -> None:
        assert self.config.ops is not None and self.config.tunnel_dns is not None
        ports = {port["name"]: port["containerPort"] for port in self.container["ports"]}
        connect, tls = (listener.listen for listener in self.tunnel.listeners)
        (dns,) = self.config.tunnel_dns.listen
        wanted = {
            "tunnel": self.tunnel.listen,
            "egress": connect,
            "kubelets": tls,
            "replicas": self.replicas.listen,
            "dns": dns,
            "dns-tcp": dns,
            "ops": self.config.ops.listen,
        }
        self.assertEqual({name: f"0.0.0.0:{port}" for name, port in ports.items()}, wanted)
        for kind, name in self.found:
            if kind == "Service":
                for port in self.found[kind, name]["spec"]["ports"]:
                    self.assertIn(port["targetPort"], ports)

    def test_only_the_tunnel_is_open_to_the_world(self) -> None:
        services = [item["spec"] for (kind, _), item in self.found.items() if kind == "Service"]
        open_ = [spec for spec in services if spec.get("type", "ClusterIP") != "ClusterIP"]
        self.assertEqual([[port["name"] for port in spec["ports"]] for spec in open_], [["tunnel"]])

    def test_they_may_do_what_they_do_and_no_more(self) -> None:
        """As the registry calls; deletes are of dead replicas' records."""
        verbs = {"get", "list", "watch", "create", "update", "patch", "delete"}
        rules = self.found["Role", "superedge-cloud"]["rules"]
        self.assertEqual(
            {(rule["apiGroups"][0], rule["resources"][0]): set(rule["verbs"]) for rule in rules},
            {("", "configmaps"): verbs, ("coordination.k8s.io", "leases"): verbs},
        )
        (nodes,) = self.found["ClusterRole", "superedge-cloud"]["rules"]
        self.assertEqual((nodes["resources"], nodes["verbs"]), (["nodes"], ["get", "list", "watch"]))
        for kind in ("RoleBinding", "ClusterRoleBinding"):
            binding = self.found[kind, "superedge-cloud"]
            self.assertEqual(binding["roleRef"]["kind"], kind.removesuffix("Binding"))
            (subject,) = binding["subjects"]
            self.assertIn((subject["kind"], subject["name"]), self.found)
        self.assertEqual(self.pod["serviceAccountName"], "superedge-cloud")
        self.assertNotIn("automountServiceAccountToken", self.pod)

    def test_every_file_is_mounted_from_a_named_secret(self) -> None:
        (connect, _) = self.tunnel.listeners
        files = [self.tunnel.certificate, self.tunnel.key, *self.tunnel.ca, *self.replicas.ca]
        files += connect.client_ca  # type: ignore[union-attr]
        mounts = {Path(mount["mountPath"]): mount["name"] for mount in self.container["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in self.pod["volumes"]}
        secrets = {volumes[mounts[path.parent]]["secret"]["secretName"] for path in files}
        comment = self.text.split("apiVersion", 1)[0]
        self.assertEqual(len(secrets), 4)
        for secret in secrets:
            self.assertIn(f" {secret} ", comment)
            self.assertIn(f"# {secret}:" if f"# {secret}:" in comment else f". {secret}:", comment)

    def test_one_goes_when_another_is_there(self) -> None:
        self.assertGreater(self.spec["replicas"], 1)
        self.assertEqual(self.spec["strategy"]["rollingUpdate"]["maxUnavailable"], 0)
        self.assertEqual(self.found["PodDisruptionBudget", "superedge-cloud"]["spec"]["maxUnavailable"], 1)
        needed = self.tunnel.drain_timeout + self.replicas.drain_delay + 10
        self.assertGreater(self.pod["terminationGracePeriodSeconds"], needed)


class CNITests(SynchronousTestCase):
    def test_the_network_is_accepted(self) -> None:
        network = json.loads((DEPLOY / "cni" / "10-superedge.conflist").read_text())
        self.assertIn(network["cniVersion"], VERSIONS)
        document = network["plugins"][0] | {"name": network["name"]}
        self.assertTrue(Network(document).keep)
        self.assertEqual([ranges[0].length for ranges in range_sets(document)], [24, 64])
        self.assertEqual(len(routes_of(document)), 2)
