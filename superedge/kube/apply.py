"""Server-side apply: say what is wanted of an object, and own just that. Source: Kubernetes API concepts."""

from __future__ import annotations

from typing import Any

from superedge.kube.client import IKubeClient

APPLY_PATCH = "application/apply-patch+yaml"


async def apply(client: IKubeClient, path: str, wanted: dict[str, Any], manager: str) -> bytes:
    """The object as it is now. ``wanted`` has apiVersion, kind, metadata.name, and the fields to own.

    Fields that somebody else set are taken over; those that ``manager`` owned and are not in ``wanted`` any
    more go. Raises APIError, Unavailable.
    """
    query = {"fieldManager": manager, "force": "true"}
    return await client.call("PATCH", path, query, wanted, APPLY_PATCH)
