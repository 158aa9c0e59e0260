"""Names and scopes: which objects a request is about. Pure."""

from __future__ import annotations

from hashlib import blake2s
from typing import NamedTuple

from superedge.kube.fields import parse_field_selector
from superedge.kube.request import RequestInfo

Name = tuple[str, str]
"""Namespace and name."""


class Scope(NamedTuple):
    """Which objects a list or watch asks for: ``namespace`` is empty for all of them."""

    namespace: str
    labels: str
    fields: str

    @property
    def identifier(self) -> str:
        """A short name that fits into every member's record."""
        return blake2s("\0".join(self).encode(), digest_size=6).hexdigest()

    @property
    def proves_deletion(self) -> bool:
        """Whether an object that leaves it is deleted: what it asks for never changes in an object."""
        return not self.labels and all(
            term.replace("==", "=").partition("=")[0] in ("metadata.name", "metadata.namespace", "")
            and "!=" not in term
            for term in self.fields.split(",")
        )

    def may_hold(self, name: Name) -> bool:
        """Whether an object of this name can be selected, whatever it holds."""
        fields = parse_field_selector(self.fields, "", "")
        return self.covers(name) and (fields is None or fields.selects_name(*name))

    def covers(self, name: Name) -> bool:
        """Whether the namespace fits."""
        return not self.namespace or self.namespace == name[0]


def scope_of(request: RequestInfo) -> Scope:
    """What a list or watch asks for; watching one name is watching that field."""
    fields = request.query.get("fieldSelector", "")
    if request.name and request.verb == "watch":
        fields = f"metadata.name={request.name}"
    return Scope(request.namespace, request.query.get("labelSelector", ""), fields)


def object_name(request: RequestInfo) -> Name:
    """Where the object of a get is; a namespace is in none."""
    return ("" if request.resource == "namespaces" else request.namespace, request.name)
