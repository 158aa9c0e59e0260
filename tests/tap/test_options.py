"""The command line of both commands: --config, --set, --check, and what each fault says."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from superedge import __version__
from superedge.tap import cloud, edge
from superedge.tap.options import BaseOptions
from superedge.tls.authority import Authority

EDGE = """
[tunnel_edge]
servers = ["127.0.0.1:1"]
certificate = "edge-1.crt"
key = "edge-1.key"
ca = ["ca.crt"]
"""
LITE = """
[lite_apiserver]
certificate = "edge-1.crt"
key = "edge-1.key"
client_ca = ["ca.crt"]
identities = ["kubelet.pem"]
[lite_apiserver.upstream]
servers = ["127.0.0.1:2"]
ca = ["ca.crt"]
[lite_apiserver.cache]
path = "edge-1.crt"
"""
CLOUD = [
    "--set=tunnel_cloud.certificate=edge-1.crt",
    "--set=tunnel_cloud.key=edge-1.key",
    '--set=tunnel_cloud.ca=["ca.crt"]',
]


class OptionsTests(SynchronousTestCase):
    options: type[BaseOptions] = edge.Options

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        Authority.create(self.directory).issue("edge-1", directory=self.directory)
        self.path = self.directory / "edge.toml"
        self.path.write_text(EDGE)

    def parse(self, *arguments: str) -> BaseOptions:
        options = self.options()
        options.parseOptions(["--config", str(self.path), *arguments])
        return options

    def refused(self, *arguments: str, code: int = 78) -> str:
        said = io.StringIO()
        with redirect_stderr(said):
            stop = cast(SystemExit, self.assertRaises(SystemExit, self.parse, *arguments))
        self.assertEqual(stop.code, code)
        return said.getvalue().removesuffix("\n")

    def test_reads_the_file(self) -> None:
        config = self.parse().program.config
        assert config.tunnel_edge is not None
        self.assertEqual(config.tunnel_edge.servers, ["127.0.0.1:1"])
        self.assertEqual(config.tunnel_edge.certificate, self.directory / "edge-1.crt")

    def test_each_command_has_a_file_of_its_own(self) -> None:
        self.assertEqual(edge.Options()["config"], "/etc/superedge/edge.toml")
        self.assertEqual(cloud.Options()["config"], "/etc/superedge/cloud.toml")

    def test_set_overrides_in_order(self) -> None:
        config = self.parse(
            "--set", "log.level=warn", "--set", "log.level=debug", "--set", 'tunnel_edge.allow=["[::1]:22"]'
        ).program.config
        assert config.tunnel_edge is not None
        self.assertEqual(config.log.level, "debug")
        self.assertEqual(config.tunnel_edge.allow, ["[::1]:22"])

    def test_check_of_a_good_file(self) -> None:
        said = io.StringIO()
        with redirect_stdout(said):
            stop = cast(SystemExit, self.assertRaises(SystemExit, self.parse, "--check"))
        self.assertEqual(stop.code, 0)
        self.assertEqual(said.getvalue(), f"superedge-edge: {self.path} is valid\n")

    def test_unknown_key(self) -> None:
        self.assertEqual(
            self.refused("--set", "log.levle=debug"),
            "superedge-edge: --set: log.levle: unknown key, did you mean level?; accepted keys: level,"
            " format",
        )

    def test_unknown_section(self) -> None:
        self.assertIn(
            "superedge-edge: --set: tunnel_egde: unknown key, did you mean tunnel_edge?",
            self.refused("--set", "tunnel_egde.servers=x"),
        )

    def test_wrong_value(self) -> None:
        self.assertEqual(
            self.refused("--set", "log.format=yaml"),
            'superedge-edge: --set: log.format: \'yaml\' is unknown; expected one of "text", "json"',
        )

    def test_no_such_file(self) -> None:
        self.path = self.directory / "none.toml"
        self.assertEqual(
            self.refused(), f"superedge-edge: {self.path}: cannot be read: No such file or directory"
        )

    def test_check_reads_the_files_that_the_configuration_names(self) -> None:
        (self.directory / "edge-1.key").unlink()
        self.assertEqual(
            self.refused("--check", code=1),
            f"superedge-edge: {self.path}: tunnel_edge.key: {self.directory / 'edge-1.key'}: cannot be read:"
            " No such file or directory",
        )

    def test_a_kubeconfig_that_does_not_serve_yet(self) -> None:
        """It may be made later, as by a node's registration: the service is started again until then."""
        settings = ("--check", "--set", "kubernetes.kubeconfig=kube", "--set", "local_dns.ttl=1")
        where = f"superedge-edge: {self.path}: kubernetes.kubeconfig: {self.directory / 'kube'}: "
        said = self.refused(*settings, code=1)
        self.assertEqual(said, f"{where}cannot be read: No such file or directory")
        (self.directory / "kube").write_text("x: 1")
        self.assertEqual(self.refused(*settings, code=1), f"{where}current-context: is required")

    def test_check_reads_the_allow_list(self) -> None:
        self.assertEqual(
            self.refused("--check", "--set", 'tunnel_edge.allow=["kubelet"]'),
            "superedge-edge: --set: tunnel_edge.allow: 'kubelet' is not a rule: use host:port"
            " or network/bits:port, with * for any port",
        )

    def test_check_looks_for_plugins(self) -> None:
        for assignment, key in (
            ("plugins.mine.x=1", "plugins"),
            ('tunnel_edge.handlers=["mine"]', "tunnel_edge.handlers"),
            ("tunnel_cloud.plugin_listeners.mine.x=1", "tunnel_cloud.plugin_listeners"),
        ):
            said = self.refused("--check", "--set", assignment, *CLOUD)
            self.assertIn(
                f"{self.path}: {key}: no installed plugin is called 'mine'; installed plugins: ", said
            )

    def test_check_warns_of_what_will_not_do(self) -> None:
        (self.directory / "edge-1.key").chmod(0o644)
        said, warned = io.StringIO(), io.StringIO()
        with redirect_stdout(said), redirect_stderr(warned):
            stop = cast(SystemExit, self.assertRaises(SystemExit, self.parse, "--check"))
        self.assertEqual((stop.code, said.getvalue()), (0, f"superedge-edge: {self.path} is valid\n"))
        (line,) = warned.getvalue().splitlines()
        self.assertTrue(line.startswith("superedge-edge: warning: tunnel_edge: "), line)

    def test_a_warning_is_an_error_to_whoever_is_strict(self) -> None:
        (self.directory / "edge-1.key").chmod(0o644)
        self.refused("--check", "--strict", code=2)

    def test_a_date_is_none_even_then(self) -> None:
        """A node must start without the cloud although its certificate expired meanwhile."""
        begin, day = datetime(2020, 1, 1, tzinfo=UTC), timedelta(1)
        Authority.load(self.directory).issue(
            "edge-1", directory=self.directory, not_before=begin, lifetime=day
        )
        self.assertIn("expired at 2020-01-02", self.refused("--check", "--strict", code=0))

    def test_a_file_that_may_come_is_none_either(self) -> None:
        self.path.write_text(EDGE + LITE)
        said = self.refused("--check", "--strict", code=0)
        self.assertIn("kubelet.pem", said)
        self.assertIn("the cache is lost when the process ends", said)

    def test_the_other_ends_file(self) -> None:
        self.options = cloud.Options
        self.assertIn(
            "warning: tunnel_edge: this is a configuration for superedge-edge, but superedge-cloud runs it",
            self.refused("--check", code=0),
        )

    def test_every_fault_at_once(self) -> None:
        self.path.write_text(
            EDGE.replace("servers", "sevrers")
            + 'allow = "x"\n[ops]\nlisten = 3\n[lite_apiserver]\n[tunnel_cloud]\n[[tunnel_cloud.listeners]]\n'
        )
        said = self.refused().splitlines()
        keys = [line.removeprefix(f"superedge-edge: {self.path}: ").partition(":")[0] for line in said]
        self.assertEqual(
            keys,
            [
                "ops.listen",
                "tunnel_cloud.certificate",
                "tunnel_cloud.key",
                "tunnel_cloud.ca",
                "tunnel_cloud.listeners[0].kind",
                "tunnel_edge.sevrers",
                "tunnel_edge.servers",
                "tunnel_edge.allow",
                "lite_apiserver.certificate",
                "lite_apiserver.key",
                "lite_apiserver.client_ca",
                "lite_apiserver.upstream",
            ],
        )

    def test_an_unknown_key_hides_no_other_fault_of_its_table(self) -> None:
        self.path.write_text(EDGE.replace('"127.0.0.1:1"', '"x"') + 'alow = 1\nallow = ["kubelet"]\n')
        said = self.refused().splitlines()
        self.assertEqual(len(said), 3, said)
        for key, line in zip(("alow: unknown key", "servers: ", "allow: "), said, strict=True):
            self.assertIn(f"tunnel_edge.{key}", line)

    def test_version(self) -> None:
        said = io.StringIO()
        with redirect_stdout(said):
            stop = cast(SystemExit, self.assertRaises(SystemExit, self.parse, "--version"))
        self.assertEqual((stop.code, said.getvalue()), (0, f"superedge-edge {__version__}\n"))

    def test_stray_arguments_are_refused(self) -> None:
        self.assertRaises(UsageError, self.parse, "stray")
        self.assertRaises(UsageError, self.parse, "--chekc")
