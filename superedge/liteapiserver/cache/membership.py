"""Whether the scope of a list or watch selects an object. Pure."""

from __future__ import annotations

from superedge.kube.errors import DecodeError, SelectorError
from superedge.kube.fields import FieldSelector, parse_field_selector
from superedge.kube.memo import memo
from superedge.kube.objects import Codec
from superedge.kube.selectors import parse_label_selector
from superedge.liteapiserver.cache.scopes import Name, Scope


@memo(1024)  # a kubelet has a watch for each ConfigMap and Secret of its pods
def _fields(selector: str, group: str, resource: str) -> FieldSelector | None:
    """The parsed selector of a scope: the API server supports its fields, since it answered."""
    return parse_field_selector(selector, group, resource, custom=True)


def belongs(scope: Scope, codec: Codec, group: str, resource: str, name: Name, raw: bytes) -> bool | None:
    """Whether a scope selects an object; None when ``codec`` does not decode what decides it."""
    if not scope.covers(name):
        return False
    try:
        fields = _fields(scope.fields, group, resource)
        if fields is None:
            return None
        if not fields.selects_name(*name):
            return False
        if not fields.names_only and not (codec.whole and fields.selects(codec, raw)):
            return False if codec.whole else None
        labels = parse_label_selector(scope.labels)
        return labels is None or labels(codec.labels(raw))
    except (SelectorError, DecodeError):
        return None
