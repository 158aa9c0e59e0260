"""docs/reference/configuration.md is what the types say."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from superedge.config.reference import REQUIRED, describe, markdown

PAGE = Path(__file__).parents[2] / "docs/reference/configuration.md"


class Base(msgspec.Struct, kw_only=True, tag_field="kind"):
    """Common to both."""

    #: Where it listens,
    #: in two lines.
    listen: str


class First(Base, tag="first"):
    """The first kind."""

    #: A | bar.
    count: int = 3


class Second(Base, tag="second"):
    """The second kind."""

    #: How.
    mode: Literal["a", "b"] = "a"


class Named(msgspec.Struct):
    """One of several by name."""

    #: Files.
    files: list[Path] = []


class Part(msgspec.Struct):
    """A part."""

    #: Either kind.
    items: list[First | Second] = []
    #: Several.
    named: dict[str, Named] = {}
    #: Perhaps a path.
    file: Path | None = None


class Root(msgspec.Struct):
    """All."""

    #: The part.
    part: Part | None = None


class ReferenceTests(SynchronousTestCase):
    def test_the_page_is_up_to_date(self) -> None:
        if PAGE.read_text() != markdown():
            self.fail("docs/reference/configuration.md is out of date: run `make docs` and commit the result")

    def test_every_key_has_a_text(self) -> None:
        bare = [(section.header, key.name) for section in describe() for key in section.keys if not key.text]
        self.assertEqual(bare, [], "write a #: comment above these fields")

    def test_tables(self) -> None:
        sections = list(describe(Root))
        self.assertEqual(
            [(section.header, section.tag) for section in sections],
            [
                ("[part]", None),
                ("[[part.items]]", ("kind", "first")),
                ("[[part.items]]", ("kind", "second")),
                ("[part.named.NAME]", None),
            ],
        )

    def test_keys(self) -> None:
        part, first, second, named = describe(Root)
        self.assertEqual(
            {key.name: (key.type, key.default, key.text) for key in first.keys + second.keys},
            {
                "listen": ("string", REQUIRED, "Where it listens, in two lines."),
                "count": ("integer", 3, "A | bar."),
                "mode": ('"a" or "b"', "a", "How."),
            },
        )
        self.assertEqual([(key.name, key.type, key.default) for key in part.keys], [("file", "path", None)])
        self.assertEqual([key.type for key in named.keys], ["list of path"])

    def test_markdown_escapes_bars(self) -> None:
        page = markdown(Root)
        self.assertIn('## `[[part.items]]` with `kind = "first"`\n\nThe first kind.\n', page)
        self.assertIn("| `count` | integer | `3` | A \\| bar. |", page)
        self.assertIn("| `file` | path | not set | Perhaps a path. |", page)
        self.assertIn("| `listen` | string | required |", page)
