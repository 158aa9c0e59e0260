"""Finds plugins that the configuration names, through Twisted's plugin system."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Any, TypeVar, cast

from twisted.plugin import IPlugin, getPlugins
from twisted.python.reflect import namedAny
from zope.interface import Interface, implementer

from superedge.errors import PluginError, SuperEdgeError
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


def named_plugins(interface: type[Interface], attribute: str = "name") -> list[tuple[str, Any]]:
    """The installed plugins of ``interface``, each with its name; those without one cannot be chosen."""
    plugins = [(getattr(plugin, attribute, None), plugin) for plugin in getPlugins(interface)]
    return [(name, plugin) for name, plugin in plugins if isinstance(name, str)]


def find_plugin(interface: type[Interface], name: str, key: str, attribute: str = "name") -> Any:
    """The installed plugin of ``interface`` whose ``attribute`` is ``name``. Raises PluginError.

    ``key`` is the configuration key with the name, for the error.
    """
    installed = named_plugins(interface, attribute)
    found = [plugin for own, plugin in installed if own == name]
    if len(found) == 1:
        return found[0]
    if found:
        raise PluginError(f"{key}: two installed plugins are called {name!r}: {found[0]!r} and {found[1]!r}")
    names = ", ".join(sorted(own for own, _ in installed)) or "none"
    raise PluginError(f"{key}: no installed plugin is called {name!r}; installed plugins: {names}")


def make_with(plugin: Any, interface: type[Interface], key: str, *arguments: Any) -> Any:
    """What ``plugin.create`` makes of the arguments. Raises PluginError when it is no ``interface``, or it
    fails; what it raises itself as a SuperEdgeError stays as it is.

    ``key`` is the configuration key that names the plugin, for the error.
    """
    try:
        made = plugin.create(*arguments)
    except SuperEdgeError:
        raise
    except Exception as problem:
        at = traceback.extract_tb(problem.__traceback__)[-1]
        said = f"{type(problem).__name__}: {problem} ({at.filename}, line {at.lineno})"
        raise PluginError(f"{key}: the plugin failed: {said}") from problem
    if not interface.providedBy(made):
        raise PluginError(f"{key}: the plugin made {made!r}, which is no {interface.__name__}")
    return made


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
