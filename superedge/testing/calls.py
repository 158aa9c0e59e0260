"""Parses a request for a resource: object, verb, selectors, body."""

from __future__ import annotations

from typing import Any

import msgspec
import yaml
from twisted.web.http import Request

from superedge.kube.media import PROTOBUF
from superedge.testing import protobuf
from superedge.testing import status as errors
from superedge.testing.resources import Resource
from superedge.testing.selectors import Predicate, both, field_selector, label_selector
from superedge.testing.storage import Key

_BODIES = ("application/json", "application/yaml")


class Call:
    """A parsed request for a resource."""

    def __init__(self, request: Request, resource: Resource, namespace: str, rest: list[str]) -> None:
        self.request = request
        self.resource = resource
        self.namespace = namespace
        self.name = rest[0] if rest else ""
        self.subresource = rest[1] if len(rest) > 1 else ""
        self.further = "/".join(rest[2:])
        self.query = {key.decode(): values[-1].decode() for key, values in request.args.items()}

    @property
    def key(self) -> Key:
        """The key of the object."""
        return Key(self.namespace, self.name)

    def verb(self) -> str:
        """The Kubernetes verb."""
        method = self.request.method.decode()
        if method in ("GET", "HEAD"):
            if self.query.get("watch") in ("true", "1"):
                return "watch"
            return "get" if self.name else "list"
        if method == "DELETE":
            return "delete" if self.name else "deletecollection"
        verb = {"POST": "create", "PUT": "update", "PATCH": "patch"}.get(method)
        if verb is None:
            raise errors.method_not_allowed()
        return verb

    def selected(self) -> Predicate | None:
        """The predicate of the selectors, including the name of a watch on one object."""
        fields = self.query.get("fieldSelector", "")
        if self.name:
            fields = f"metadata.name={self.name}" + (f",{fields}" if fields else "")
        return both(
            label_selector(self.query.get("labelSelector", "")), field_selector(self.resource, fields)
        )


def body_of(request: Request) -> Any:
    """The decoded body, or None. Raises APIError 400 or 415."""
    raw = request.content.read() if request.content else b""
    if not raw:
        return None
    kind = (request.getHeader("content-type") or "application/json").partition(";")[0].strip()
    try:
        if kind.endswith("yaml"):
            return yaml.safe_load(raw)
        if kind in ("", "*/*") or kind.endswith("json"):
            return msgspec.json.decode(raw)
        if kind == PROTOBUF:
            return protobuf.decode(raw)
    except protobuf.ProtobufError as problem:
        raise errors.unsupported_media_type(_BODIES, str(problem)) from problem
    except (msgspec.DecodeError, yaml.YAMLError) as problem:
        raise errors.bad_request(f"couldn't get version/kind; json parse error: {problem}") from problem
    raise errors.unsupported_media_type(_BODIES)
