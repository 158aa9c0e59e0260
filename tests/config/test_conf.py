"""conf/*.toml are complete, true, and load."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from superedge.config.load import convert, load_config
from superedge.config.reference import REQUIRED, Section, describe
from superedge.config.root import Config

CONF = Path(__file__).parents[2] / "conf"
COMMENTED = re.compile(r"^#\s?(?=\w+ = |\[+[\w.]+\]+$)")
ASSIGNMENT = re.compile(r"^(#?)\s?(\w+) = (.*)$")


def tables(text: str) -> list[tuple[str, dict[str, tuple[bool, Any]]]]:
    """(header, {key: (commented out, value)}) of each table of a file, those commented out included."""
    found: list[tuple[str, dict[str, tuple[bool, Any]]]] = []
    for line in text.splitlines():
        bare = COMMENTED.sub("", line)
        if bare.startswith("["):
            found.append((bare, {}))
        elif match := ASSIGNMENT.match(line):
            value = tomllib.loads(f"value = {match[3]}")["value"]
            found[-1][1][match[2]] = (bool(match[1]), value)
    return found


def belongs(section: Section, header: str, keys: dict[str, tuple[bool, Any]]) -> bool:
    pattern = re.escape(section.header).replace("NAME", r"[\w.-]+")
    if not re.fullmatch(pattern, header):
        return False
    return section.tag is None or keys.get(section.tag[0], (False, None))[1] == section.tag[1]


class ConfTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.texts = {path.name: path.read_text() for path in sorted(CONF.glob("*.toml"))}
        self.tables = {name: tables(text) for name, text in self.texts.items()}

    def test_both_load_as_they_are(self) -> None:
        self.assertIsNotNone(load_config(Config, CONF / "cloud.toml").tunnel_cloud)
        self.assertIsNotNone(load_config(Config, CONF / "edge.toml").tunnel_edge)

    def test_they_load_with_everything_uncommented(self) -> None:
        for name, text in self.texts.items():
            whole = "\n".join(COMMENTED.sub("", line) for line in text.splitlines())
            convert(Config, tomllib.loads(whole), name, CONF)

    def test_every_key_is_in_one_of_them(self) -> None:
        missing = []
        for section in describe():
            named: set[str] = set()
            seen = False
            for found in self.tables.values():
                for header, keys in found:
                    if belongs(section, header, keys):
                        seen = True
                        named |= keys.keys()
            if not seen:
                missing.append(section.header)
            missing += [f"{section.header} {key.name}" for key in section.keys if key.name not in named]
        self.assertEqual(missing, [], "conf/cloud.toml and conf/edge.toml lack keys")

    def test_a_key_commented_out_shows_its_default(self) -> None:
        wrong = []
        for section in describe():
            defaults = {key.name: key.default for key in section.keys}
            for name, found in self.tables.items():
                for header, keys in found:
                    if not belongs(section, header, keys) or self.is_example(name, header):
                        continue
                    for key, (commented, value) in keys.items():
                        default = defaults.get(key, REQUIRED)
                        plain = list(default) if isinstance(default, tuple) else default
                        plain = str(plain) if isinstance(plain, Path) else plain
                        if commented and default is not None and plain != value:
                            wrong.append(f"{name}: {header} {key} = {value!r}, the default is {default!r}")
        self.assertEqual(wrong, [])

    def is_example(self, name: str, header: str) -> bool:
        """Whether the table is commented out with its header, and so shows values of its own."""
        return f"\n#{header}\n" in self.texts[name]

    def test_an_unknown_key_would_be_noticed(self) -> None:
        sections = list(describe())
        for found in self.tables.values():
            for header, keys in found:
                known = [section for section in sections if belongs(section, header, keys)]
                self.assertNotEqual(known, [], header)
