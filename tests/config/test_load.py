"""Every fault of a configuration file is one sentence with file, key and what is accepted."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, cast

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from superedge.config.load import load_config
from superedge.config.root import Config
from superedge.errors import ConfigError, ConfigFaults


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the tables below."""


class Tcp(Strict, frozen=True, tag="tcp", tag_field="kind"):
    listen: str
    target: str = ""


class Tls(Strict, frozen=True, tag="tls", tag_field="kind"):
    listen: str
    ports: dict[str, str] = {}


class Inner(Strict, frozen=True):
    count: int = 1
    mode: Literal["a", "b"] = "a"
    file: Path | None = None
    listeners: list[Tcp | Tls] = []

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError("count must not be negative")


class Root(Strict, frozen=True):
    inner: Inner = Inner()
    needed: int = 0


class LoadTests(SynchronousTestCase):
    def load(self, text: str, *overrides: str) -> Root:
        self.path = Path(self.mktemp())
        self.path.write_text(text)
        return load_config(Root, self.path, overrides)

    def refused(self, text: str, *overrides: str) -> ConfigError:
        return cast(ConfigError, self.assertRaises(ConfigError, self.load, text, *overrides))

    def test_values_defaults_and_relative_files(self) -> None:
        config = self.load('[inner]\ncount = 3\nfile = "x/y.crt"\n')
        self.assertEqual((config.inner.count, config.inner.mode), (3, "a"))
        self.assertEqual(config.inner.file, self.path.parent / "x/y.crt")
        self.assertEqual(self.load('inner.file = "/etc/a"').inner.file, Path("/etc/a"))

    def test_overrides(self) -> None:
        config = self.load("[inner]\ncount = 3\n", "inner.count=5", "inner.mode=b", 'inner.file="/a=b"')
        self.assertEqual((config.inner.count, config.inner.mode), (5, "b"))
        self.assertEqual(config.inner.file, Path("/a=b"))

    def test_bad_overrides(self) -> None:
        for override in ("inner.count", "=3", "inner..count=3", "inner.count.x=1"):
            self.assertIn("--set", str(self.refused("[inner]\ncount = 3\n", override)))

    def test_unknown_key_names_what_is_accepted(self) -> None:
        error = self.refused("[inner]\ncuont = 3\n")
        self.assertEqual(error.key, "inner.cuont")
        self.assertEqual(
            str(error),
            f"{self.path}: inner.cuont: unknown key, did you mean count?;"
            " accepted keys: count, mode, file, listeners",
        )

    def test_unknown_key_in_a_tagged_table(self) -> None:
        error = self.refused('[[inner.listeners]]\nkind = "tls"\nlisten = "x"\ntraget = "y"\n')
        self.assertEqual(error.key, "inner.listeners[0].traget")
        self.assertIn("ports", str(error))

    def test_a_key_of_another_kind_is_not_among_the_accepted(self) -> None:
        tables = '[[inner.listeners]]\nkind = "tls"\nlisten = "x"\n'
        error = self.refused(tables + '[[inner.listeners]]\nkind = "tcp"\nlisten = "x"\nports = {}\n')
        self.assertEqual(error.key, "inner.listeners[1].ports")
        self.assertEqual(error.message, "unknown key; accepted keys: kind, listen, target")

    def test_unknown_section(self) -> None:
        self.assertIn("accepted keys: inner, needed", str(self.refused("[other]\n")))

    def test_wrong_type_choice_and_meaning(self) -> None:
        for text, key, part in (
            ('[inner]\ncount = "x"\n', "inner.count", "is text; expected a whole number, such as 10"),
            ('[inner]\nmode = "c"\n', "inner.mode", '\'c\' is unknown; expected one of "a", "b"'),
            ("[inner]\ncount = -1\n", "inner", "count must not be negative"),
            ("[inner]\nfile = 3\n", "inner.file", "is a whole number; expected a path, such as"),
            ('[[inner.listeners]]\nkind = "tcp"\n', "inner.listeners[0].listen", "is required"),
            (
                '[[inner.listeners]]\nkind = "ftp"\n',
                "inner.listeners[0].kind",
                "'ftp' is unknown; expected one of tcp, tls",
            ),
        ):
            error = self.refused(text)
            self.assertEqual(error.key, key)
            self.assertIn(part, error.message)

    def test_not_toml_and_not_there(self) -> None:
        self.assertIn("is not TOML", str(self.refused("[inner\n")))
        missing: Any = Path(self.mktemp())
        error = self.assertRaises(ConfigError, load_config, Root, missing)
        self.assertIn("cannot be read: No such file", str(error))


class AllFaultsTests(SynchronousTestCase):
    """One reading tells every fault of a file."""

    def faults(self, text: str) -> set[tuple[str, str]]:
        path = Path(self.mktemp())
        path.write_text(text)
        found = self.assertRaises(ConfigFaults, load_config, Config, path)
        return {(each.key, each.message.partition(":")[0].partition(";")[0]) for each in found.faults}

    def test_checks_go_on_after_a_required_key(self) -> None:
        """Whether its value has the wrong type, is refused by a check, or is not there."""
        rest = "connections = 17\nreconnect_initial = 0\n"
        expected = {
            ("tunnel_edge.connections", "17 is not 1 to 16"),
            ("tunnel_edge.reconnect_initial", "0.0 must be greater than 0"),
        }
        paths = 'certificate = "c"\nkey = "k"\nca = ["a"]\n'
        for servers, fault in (
            ("servers = 3\n", "is a whole number"),
            ('servers = ["a"]\n', "'a' is not host"),
            ("servers = []\n", "must name at least one"),
            ("", "is required"),
        ):
            self.assertEqual(
                self.faults(f"[tunnel_edge]\n{servers}{paths}{rest}"),
                expected | {("tunnel_edge.servers", fault)},
            )

    def test_each_item_of_a_list(self) -> None:
        pair = 'certificate = "c"\nkey = "k"\nca = ["a"]\n'
        self.assertEqual(
            self.faults(f'[tunnel_cloud]\n{pair}node_ranges = ["10.0.0.0/8", "x", "y"]\npod_ranges = ["z"]'),
            {
                ("tunnel_cloud.node_ranges", "'x' is not a network such as 10.0.0.0/8"),
                ("tunnel_cloud.node_ranges", "'y' is not a network such as 10.0.0.0/8"),
                ("tunnel_cloud.pod_ranges", "'z' is not a network such as 10.0.0.0/8"),
            },
        )

    def test_an_address_that_two_use_beside_another_fault(self) -> None:
        listener = (
            '[[tunnel_cloud.listeners]]\nkind = "http"\nlisten = "127.0.0.1:9"\ntarget = "127.0.0.1:1"\n'
        )
        pair = '[tunnel_cloud]\ncertificate = "c"\nkey = "k"\nca = ["a"]\n'
        text = f'log.level = "x"\n[ops]\nlisten = "127.0.0.1:9"\n{listener}{pair}'
        self.assertEqual(
            self.faults(text),
            {
                ("log.level", "'x' is unknown"),
                ("tunnel_cloud.listeners[0].listen", "127.0.0.1"),
            },
        )

    def test_what_a_faulty_key_makes_uncertain_is_not_told(self) -> None:
        """Whether a `connect` listener needs a certificate depends on its address."""
        self.assertEqual(
            self.faults(
                '[[tunnel_cloud.listeners]]\nkind = "connect"\nlisten = 3\nmode = "9"\n'
                '[tunnel_cloud]\ncertificate = "c"\nkey = "k"\nca = ["a"]\n'
            ),
            {
                ("tunnel_cloud.listeners[0].listen", "is a whole number"),
                ("tunnel_cloud.listeners[0].mode", "'9' is not three or four octal digits, such as 0660"),
            },
        )
