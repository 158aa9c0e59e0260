"""Lists the objects of a watch for a client that resumes it, when the cache does not have them."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlencode

from twisted.logger import Logger

from superedge.kube.codecs import codec_for
from superedge.kube.errors import DecodeError
from superedge.kube.media import JSON, PROTOBUF, Representation
from superedge.kube.objects import Item
from superedge.kube.protobuf import MAGIC
from superedge.kube.request import RequestInfo
from superedge.liteapiserver.access.caller import Caller
from superedge.liteapiserver.cache.scopes import Name, scope_of
from superedge.liteapiserver.upstream.fetch import FetchError, fetch_body
from superedge.net.errors import ConnectError

MAX_LIST = 64 * 1024 * 1024
"""Bytes of the longest list."""

_log = Logger()


def resumes(info: RequestInfo) -> bool:
    """Whether a request is a watch that continues what the client has."""
    named = info.query.get("resourceVersion", "") not in ("", "0")
    return info.verb == "watch" and named and not info.flag("sendInitialEvents")


async def list_base(caller: Caller, info: RequestInfo, host: bytes) -> Mapping[Name, Item] | None:
    """The objects that a watch selects, as they are at its version or later; None when they cannot be had.

    Then the watch is told of the objects that it shows only.
    """
    scope = scope_of(info)
    query = [("labelSelector", scope.labels), ("fieldSelector", scope.fields)]
    query.append(("resourceVersion", info.query["resourceVersion"]))  # or later, from the server's memory
    path = info.path.removesuffix(f"/{info.name}") if info.name else info.path
    target = f"{quote(path)}?{urlencode([pair for pair in query if pair[1]])}"
    try:
        body = await fetch_body(
            caller.pool, host, target, info.accept, caller.authorization, idle=True, limit=MAX_LIST
        )
        codec = codec_for(Representation(PROTOBUF if body.startswith(MAGIC) else JSON))
        assert codec is not None
        page = codec.decode_list(body)
    except (ConnectError, FetchError, DecodeError) as problem:
        _log.warn("{path} cannot be listed for a watch: {problem}", path=info.path, problem=problem)
        return None
    kind = page.kind.removesuffix("List")
    return {
        (item.namespace, item.name): item._replace(kind=kind, api_version=page.api_version)
        for item in page.items
    }
