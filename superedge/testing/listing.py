"""LIST with the parameters resourceVersion, resourceVersionMatch, limit and continue. Pure.

Source: Kubernetes API concepts, "Resource versions" and "Retrieving large results sets in chunks".
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from superedge.testing import status as errors
from superedge.testing.selectors import Predicate
from superedge.testing.storage import Collection, Compacted, Key, Object, Store, Stored


class _Token(msgspec.Struct, omit_defaults=True):
    v: str
    rv: int
    start: tuple[str, str]


class Page(NamedTuple):
    """The result of a list."""

    items: list[Stored]
    metadata: Object


def parse_version(text: str) -> int:
    """A resourceVersion parameter. Raises APIError 400."""
    if not text.isdigit():
        raise errors.bad_request(f'Invalid value: "{text}": resourceVersion must be a non-negative integer')
    return int(text)


def _encode(revision: int, after: Key) -> str:
    raw = msgspec.json.encode(_Token("meta.k8s.io/v1", revision, (after.namespace, after.name)))
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _decode(text: str) -> _Token:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=_Token)
    except (binascii.Error, ValueError, msgspec.DecodeError) as problem:
        raise errors.bad_request("continue key is not valid") from problem


def list_page(
    store: Store,
    collection: Collection,
    namespace: str,
    query: Mapping[str, str],
    selected: Predicate | None,
) -> Page:
    """Execute a list. Raises APIError 400, 410, 422 or 504."""
    limit = parse_version(query.get("limit") or "0")
    revision, after = _position(store, query, limit)
    try:
        items = store.snapshot(collection, namespace, revision)
    except Compacted as problem:
        if after is not None:
            # The client may continue with the current objects, an inconsistent list.
            raise errors.expired(
                "The provided continue parameter is too old to display a consistent list result. You can "
                "start a new list without the continue parameter, or use the continue token in this response "
                "to retrieve the remainder of the results.",
                _encode(0, after),
            ) from problem
        raise errors.too_old(revision or 0, problem.oldest) from problem
    if after is not None:
        items = [item for item in items if item.key > after]
    if selected is not None:
        items = [item for item in items if selected(item.object)]
    shown = store.revision if revision is None else revision
    metadata: Object = {"resourceVersion": str(shown)}
    if limit and len(items) > limit:
        metadata["continue"] = _encode(shown, items[limit - 1].key)
        if selected is None:
            metadata["remainingItemCount"] = len(items) - limit
        items = items[:limit]
    return Page(items, metadata)


def _position(store: Store, query: Mapping[str, str], limit: int) -> tuple[int | None, Key | None]:
    version, match = query.get("resourceVersion", ""), query.get("resourceVersionMatch", "")
    if match and not version:
        problem = "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
        raise errors.invalid(
            "meta.k8s.io", "ListOptions", "", "resourceVersionMatch", problem, "FieldValueForbidden"
        )
    if match not in ("", "Exact", "NotOlderThan"):
        problem = f'Unsupported value: "{match}": supported values: "Exact", "NotOlderThan"'
        raise errors.invalid(
            "meta.k8s.io", "ListOptions", "", "resourceVersionMatch", problem, "FieldValueNotSupported"
        )
    if query.get("continue"):
        if version and version != "0":
            raise errors.bad_request("specifying resource version is not allowed when using continue")
        token = _decode(query["continue"])
        return token.rv or None, Key(*token.start)
    if not version or (version == "0" and match != "Exact"):
        return None, None
    asked = parse_version(version)
    if asked > store.revision:
        raise errors.too_large(asked, store.revision)
    if match == "Exact" and not asked:
        problem = 'Forbidden: resourceVersionMatch "Exact" is forbidden for resourceVersion "0"'
        raise errors.invalid(
            "meta.k8s.io", "ListOptions", "", "resourceVersionMatch", problem, "FieldValueForbidden"
        )
    return (asked if match == "Exact" or (limit and not match) else None), None
