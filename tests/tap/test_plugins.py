"""Plugins of installed packages that fail, or are not what they should be."""

from __future__ import annotations

from typing import Any, cast

from twisted.application.service import Service
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from superedge import plugin
from superedge.config.root import Config
from superedge.errors import ConfigError, PluginError, SuperEdgeError
from superedge.tap.compose import compose


class Nameless:
    """Names nothing."""


class Numbered:
    name = 5


class Plugin:
    """Makes a service of its options."""

    def __init__(self, name: str) -> None:
        self.name = name

    def create(self, reactor: Any, options: Any) -> Any:
        if "refused" in options:
            raise ConfigError("mine", "refused", "is unknown")
        return Service() if options["well"] else None


class PluginTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.installed: list[Any] = [Nameless(), Numbered(), Plugin("mine")]
        self.patch(plugin, "getPlugins", lambda interface: self.installed)

    def compose(self, name: str, **options: Any) -> Any:
        return compose(Config(plugins={name: options}), cast(Any, MemoryReactorClock()))

    def refused(self, name: str, **options: Any) -> str:
        return str(self.assertRaises(SuperEdgeError, self.compose, name, **options))

    def test_one_without_a_name_is_in_nobodys_way(self) -> None:
        self.compose("mine", well=True)
        problem = self.assertRaises(PluginError, self.compose, "other")
        self.assertTrue(str(problem).endswith("called 'other'; installed plugins: mine"), str(problem))

    def test_one_that_fails_is_named(self) -> None:
        said = self.refused("mine")
        self.assertTrue(said.startswith("plugins.mine: the plugin failed: KeyError: 'well' ("), said)
        self.assertIn("test_plugins.py, line ", said)
        self.assertEqual(
            self.refused("mine", well=False), "plugins.mine: the plugin made None, which is no IService"
        )

    def test_what_it_says_itself_is_said(self) -> None:
        self.assertEqual(self.refused("mine", refused=1), "mine: refused: is unknown")
