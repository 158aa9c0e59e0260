from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from superedge.kube.errors import SelectorError
from superedge.kube.selectors import MAX_REQUIREMENTS, parse_label_selector

OBJECTS: dict[str, dict[str, str]] = {
    "none": {},
    "x": {"app": "x"},
    "y": {"app": "y", "shop.example/tier": "web"},
    "empty": {"app": ""},
    "five": {"level": "5"},
    "six": {"level": "6"},
    "word": {"level": "high"},
}


class LabelSelectorTests(SynchronousTestCase):
    def selected(self, text: str) -> list[str]:
        predicate = parse_label_selector(text)
        assert predicate is not None
        return [name for name, labels in OBJECTS.items() if predicate(labels)]

    def test_what_each_selects(self) -> None:
        rest = ["five", "six", "word"]
        for text, wanted in (
            ("app=x", ["x"]),
            ("app==x", ["x"]),
            (" app = x ", ["x"]),
            ("app=", ["empty"]),
            ("app!=x", ["none", "y", "empty", *rest]),
            ("app", ["x", "y", "empty"]),
            ("!app", ["none", *rest]),
            ("! app", ["none", *rest]),
            ("app in (x, y)", ["x", "y"]),
            ("app in (x,)", ["x", "empty"]),
            ("app in ()", ["empty"]),
            ("app notin (x,y)", ["none", "empty", *rest]),
            ("level>5", ["six"]),
            ("level > 4", ["five", "six"]),
            ("level<6", ["five"]),
            ("level<-1", []),
            ("app,shop.example/tier=web", ["y"]),
            ("app=x,!app", []),
            ("app in (x,y),app notin (x)", ["y"]),
            ("!level,app!=x,app", ["y", "empty"]),
        ):
            self.assertEqual(self.selected(text), wanted, text)

    def test_everything(self) -> None:
        for text in ("", "  "):
            self.assertIsNone(parse_label_selector(text))

    def test_more_than_are_tested(self) -> None:
        most = ",".join(f"!a{number}" for number in range(MAX_REQUIREMENTS))
        self.assertEqual(self.selected(most), self.selected("!nothing"))
        self.assertRaises(SelectorError, parse_label_selector, f"{most},!b")
        self.assertIsNotNone(parse_label_selector(f"app in ({','.join('a' * 1000)})"))

    def test_what_is_none(self) -> None:
        for text in (
            ",",
            "app,",
            ",app",
            "app,,tier",
            "app===x",
            "=x",
            "!",
            "app=x y",
            "app in x",
            "app in (x",
            "app in (x))",
            "app in ((x))",
            "level>high",
            "level>",
            "app=b/c",
            "app x",
            "!app=x",
        ):
            self.assertRaises(SelectorError, parse_label_selector, text)
