"""`metav1.Status` answers as the API server words them. Pure.

Source: Kubernetes API conventions, "Response Status Kind"; apimachinery pkg/api/errors.
"""

from __future__ import annotations

import msgspec

from superedge.kube.errors import DecodeError
from superedge.kube.protobuf import MAGIC, split_envelope

REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    410: "Expired",
    413: "RequestEntityTooLarge",
    431: "RequestHeaderFieldsTooLarge",
    500: "InternalError",
    502: "BadGateway",
    503: "ServiceUnavailable",
    504: "Timeout",
}


def status_body(code: int, message: str, reason: str = "", details: dict[str, object] | None = None) -> bytes:
    """A failure's Status in JSON; every client of the API reads JSON whatever else it asked for."""
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


class _Kind(msgspec.Struct):
    kind: str = ""
    apiVersion: str = ""


_kind = msgspec.json.Decoder(_Kind)


def is_status(body: bytes) -> bool:
    """Whether a body, in JSON or protobuf, is the Status of an API server."""
    try:
        if body.startswith(MAGIC):
            return split_envelope(body)[:2] == ("Status", "v1")
        found = _kind.decode(body)
    except (msgspec.MsgspecError, DecodeError, UnicodeDecodeError):
        return False
    return (found.kind, found.apiVersion) == ("Status", "v1")


def not_found(group: str, resource: str, name: str) -> bytes:
    """The Status of a missing object."""
    qualified = f"{resource}.{group}" if group else resource
    details: dict[str, object] = {"name": name, "kind": resource}
    if group:
        details["group"] = group
    return status_body(404, f'{qualified} "{name}" not found', details=details)
