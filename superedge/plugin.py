"""Finds plugins that the configuration names, through Twisted's plugin system."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from twisted.plugin import IPlugin, getPlugins
from twisted.python.reflect import namedAny
from zope.interface import Interface, implementer

from superedge.errors import PluginError
from superedge.interfaces import (
    ICacheStore,
    ICacheStorePlugin,
    IHealthChecker,
    IHealthProbe,
    Inspection,
    IReactor,
    IResponseFilter,
    IResponseFilterMaker,
)

T = TypeVar("T")


def find_plugin(interface: type[Interface], name: str, key: str, attribute: str = "name") -> Any:
    """The installed plugin of ``interface`` whose ``attribute`` is ``name``. Raises PluginError.

    ``key`` is the configuration key with the name, for the error.
    """
    installed = list(getPlugins(interface))
    found = [plugin for plugin in installed if getattr(plugin, attribute) == name]
    if len(found) == 1:
        return found[0]
    if found:
        raise PluginError(f"{key}: two installed plugins are called {name!r}: {found[0]!r} and {found[1]!r}")
    names = ", ".join(sorted(getattr(plugin, attribute) for plugin in installed)) or "none"
    raise PluginError(f"{key}: no installed plugin is called {name!r}; installed plugins: {names}")


@implementer(IPlugin, ICacheStorePlugin)
class StoreMaker:
    """A cache store whose module is imported only when the configuration names it."""

    def __init__(self, name: str, module: str) -> None:
        """``module`` is imported for its functions ``create`` and ``inspect``."""
        self.name = name
        self._module = module

    def create(self, reactor: IReactor, path: str, options: Mapping[str, Any]) -> ICacheStore:
        return cast(ICacheStore, namedAny(f"{self._module}.create")(reactor, path, options))

    def inspect(self, path: str, options: Mapping[str, Any]) -> Inspection:
        return cast(Inspection, namedAny(f"{self._module}.inspect")(path, options))


@implementer(IPlugin, IResponseFilterMaker)
class FilterMaker:
    """A response filter whose module is imported only when the configuration names it."""

    def __init__(self, name: str, factory: str) -> None:
        """``factory`` is the full name of what is called with the options."""
        self.name = name
        self._factory = factory

    def create(self, options: Mapping[str, Any]) -> IResponseFilter:
        """Import the module and have it make a filter."""
        return cast(IResponseFilter, namedAny(self._factory)(options))


@implementer(IPlugin, IHealthProbe)
class ProbeMaker:
    """A probe whose module is imported only when the configuration names it."""

    def __init__(self, kind: str, factory: str) -> None:
        """``factory`` is the full name of what is called with the reactor and the options."""
        self.kind = kind
        self._factory = factory

    def create(self, reactor: IReactor, options: Mapping[str, Any]) -> IHealthChecker:
        """Import the module and have it make a checker."""
        return cast(IHealthChecker, namedAny(self._factory)(reactor, options))
