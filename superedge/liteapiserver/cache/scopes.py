"""Names and scopes: the objects that a request selects. Pure."""

from __future__ import annotations

from hashlib import blake2s
from typing import NamedTuple

from superedge.kube.fields import parse_field_selector
from superedge.kube.request import RequestInfo

Name = tuple[str, str]
"""Namespace and name."""


class Scope(NamedTuple):
    """The namespace, empty for all, and the selectors of a list or watch."""

    namespace: str
    labels: str
    fields: str

    @property
    def identifier(self) -> str:
        """A short hash, for the records of the members."""
        return blake2s("\0".join(self).encode(), digest_size=6).hexdigest()

    @property
    def is_selective(self) -> bool:
        """Whether it has a selector, so that an object may leave it."""
        return bool(self.labels or self.fields)

    @property
    def proves_deletion(self) -> bool:
        """Whether only deleted objects leave the scope, as it selects by fields that never change."""
        return not self.labels and all(
            term.replace("==", "=").partition("=")[0] in ("metadata.name", "metadata.namespace", "")
            and "!=" not in term
            for term in self.fields.split(",")
        )

    def may_select(self, name: Name) -> bool:
        """Whether an object of this name may be selected, whatever its content."""
        fields = parse_field_selector(self.fields, "", "")
        return self.covers(name) and (fields is None or fields.selects_name(*name))

    def covers(self, name: Name) -> bool:
        """Whether the namespace matches."""
        return not self.namespace or self.namespace == name[0]


def scope_of(request: RequestInfo) -> Scope:
    """The scope of a list or watch; a watch of one name has a field selector for it."""
    fields = request.query.get("fieldSelector", "")
    if request.name and request.verb == "watch":
        fields = f"metadata.name={request.name}"
    return Scope(request.namespace, request.query.get("labelSelector", ""), fields)


def object_name(request: RequestInfo) -> Name:
    """The name of a get's object; a Namespace object is in no namespace."""
    return ("" if request.resource == "namespaces" else request.namespace, request.name)
