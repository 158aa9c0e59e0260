"""The documentation's links lead somewhere, and its configuration exists."""

from __future__ import annotations

import importlib
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import REGISTRY
from twisted.trial.unittest import SynchronousTestCase

from superedge.config.reference import describe
from tests.config.test_conf import belongs, tables

PROJECT = Path(__file__).parents[2]
PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").rglob("*.md"))]


def anchors(text: str) -> set[str]:
    """The anchors that a page's headings make."""
    found = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in found}


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """(page, text) of each block of a language."""
    for page in PAGES:
        for text in re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
            yield page.name, text


def metrics() -> set[str]:
    """The names of all metrics."""
    for path in (PROJECT / "superedge").rglob("metrics.py"):
        importlib.import_module(".".join(path.relative_to(PROJECT).with_suffix("").parts))
    suffixes = {"counter": "_total", "info": "_info"}
    found = {family.name + suffixes.get(family.type, "") for family in REGISTRY.collect()}
    return {name for name in found if name.startswith(("superedge_", "coredns_"))}


def named_metrics() -> set[str]:
    """Those that the pages name; `` `superedge_a_b`, `_c` `` stands for superedge_a_c, too."""
    found = set()
    for line in "\n".join(page.read_text() for page in PAGES).splitlines():
        words = re.findall(r"`(\w+)(?:{[^`]*})?`", line)
        for whole in (word for word in words if word.startswith(("superedge_", "coredns_"))):
            parts = whole.split("_")
            found.add(whole)
            for end in (word for word in words if word.startswith("_")):
                found |= {"_".join(parts[:at]) + end for at in range(2, len(parts))}
    return found


class DocsTests(SynchronousTestCase):
    def test_every_metric_is_documented(self) -> None:
        self.assertEqual(metrics() - named_metrics(), set())

    def test_links(self) -> None:
        broken = []
        for page in PAGES:
            for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
                path, _, anchor = link.partition("#")
                if re.match(r"https?:", link):
                    continue
                target = (page.parent / path) if path else page
                if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
                    broken.append(f"{page.relative_to(PROJECT)}: {link}")
        self.assertEqual(broken, [])

    def test_every_page_can_be_found(self) -> None:
        index = (PROJECT / "docs/index.md").read_text()
        for page in (PROJECT / "docs").rglob("*.md"):
            name = str(page.relative_to(PROJECT / "docs"))
            self.assertTrue(name == "index.md" or f"({name})" in index, f"docs/index.md does not name {name}")

    def test_configuration_in_the_pages_exists(self) -> None:
        described = list(describe())
        count = 0
        for page, text in blocks("toml"):
            tomllib.loads(text)
            for header, keys in tables(text):
                if header.startswith(("[tunnel_cloud.plugin_listeners.", "[local_dns.resolvers.")):
                    continue
                sections = [section for section in described if belongs(section, header, keys)]
                self.assertNotEqual(sections, [], f"{page}: {header}")
                if header.startswith("[plugins."):
                    continue
                known = {key.name for section in sections for key in section.keys} | {"kind"}
                self.assertEqual(keys.keys() - known, set(), f"{page}: {header}")
                count += 1
        self.assertGreaterEqual(count, 5)

    def test_the_map_names_what_is_there(self) -> None:
        text = (PROJECT / "docs/architecture.md").read_text()
        named = set(re.findall(r"`((?:[a-z0-9_]+/)+(?:[a-z0-9_]+\.py)?)`", text))
        self.assertGreater(len(named), 30)
        places = (PROJECT, *(PROJECT / "superedge" / part for part in ("", "tunnel", "liteapiserver", "dns")))
        self.assertEqual(
            [name for name in sorted(named) if not any((place / name).exists() for place in places)], []
        )

    def test_json_in_the_pages_is_json(self) -> None:
        found = [json.loads(line) for _, text in blocks("json") for line in text.splitlines()]
        self.assertGreater(len(found), 0)
