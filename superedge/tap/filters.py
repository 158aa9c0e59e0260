"""Makes the response filters that the configuration of lite-apiserver names."""

from __future__ import annotations

from typing import cast

from superedge.config.addresses import TCPAddress, parse_address
from superedge.config.liteapiserver import LiteAPIServerConfig
from superedge.errors import ConfigError, PluginError
from superedge.interfaces import IFollowingFilter, IResponseFilter, IResponseFilterMaker
from superedge.plugin import find_plugin, make_with, named_plugins


def response_filters(config: LiteAPIServerConfig) -> list[IResponseFilter]:
    """The filters in their order. Raises PluginError, ConfigError."""
    makers = dict(named_plugins(IResponseFilterMaker))
    unused = set(config.filter_options) - set(config.filters)
    if unused:
        raise ConfigError("lite_apiserver.filter_options", "", f"{min(unused)!r} is not in filters")
    installed = {*makers, *(name for name, _ in named_plugins(IResponseFilter))}
    filters = []
    for name in config.filters:
        if name not in installed:
            raise PluginError(
                f"lite_apiserver.filters: no installed plugin is called {name!r}; installed plugins: "
                f"{', '.join(sorted(installed))}"
            )
        if name in makers:
            options = config.filter_options.get(name, {})
            each = make_with(makers[name], IResponseFilter, f"lite_apiserver.filters: {name}", options)
        else:
            each = find_plugin(IResponseFilter, name, "lite_apiserver.filters")
        if IFollowingFilter.providedBy(each) and not config.filter_identity:
            needs = f"filter {name!r} reads other objects: name the upstream identity that may read them"
            raise ConfigError("lite_apiserver.filter_identity", "", needs)
        filters.append(each)
    if config.advertise:
        from superedge.liteapiserver.forward.kubernetes import KubernetesEndpoints  # noqa: PLC0415

        filters.append(KubernetesEndpoints(cast(TCPAddress, parse_address(config.advertise))))
    return filters
