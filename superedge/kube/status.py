"""Encodes `metav1.Status` responses with the API server's texts. Pure.

Source: Kubernetes API conventions, "Response Status Kind"; apimachinery pkg/api/errors.
"""

from __future__ import annotations

import msgspec

from superedge.kube.codecs import kind_of
from superedge.kube.errors import DecodeError
from superedge.kube.request import qualified

REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    410: "Expired",
    413: "RequestEntityTooLarge",
    429: "TooManyRequests",
    431: "RequestHeaderFieldsTooLarge",
    500: "InternalError",
    502: "BadGateway",
    503: "ServiceUnavailable",
    504: "Timeout",
}


def status_body(code: int, message: str, reason: str = "", details: dict[str, object] | None = None) -> bytes:
    """The Status of a failure in JSON, which every API client can decode."""
    status: dict[str, object] = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason or REASONS.get(code, ""),
    }
    if details:
        status["details"] = details
    status["code"] = code
    return msgspec.json.encode(status) + b"\n"


def is_status(body: bytes) -> bool:
    """Whether a body in JSON or protobuf is a Status."""
    try:
        return kind_of(body) == ("Status", "v1")
    except DecodeError:
        return False


def not_found(group: str, resource: str, name: str) -> bytes:
    """The Status of a missing object."""
    details: dict[str, object] = {"name": name, "kind": resource}
    if group:
        details["group"] = group
    return status_body(404, f'{qualified(group, resource)} "{name}" not found', details=details)
