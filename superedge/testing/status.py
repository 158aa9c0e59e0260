"""Errors of API calls as `metav1.Status`, with kube-apiserver's texts.

Source: Kubernetes API conventions, "Response Status Kind".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from superedge.errors import SuperEdgeError
from superedge.kube.request import qualified

Cause = dict[str, str]


class APIError(SuperEdgeError):
    """An error response: HTTP ``code``, machine-readable ``reason``, one sentence."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.metadata = metadata or {}

    def status(self) -> dict[str, Any]:
        """The `Status` object."""
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.metadata,
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            **({"details": self.details} if self.details else {}),
            "code": self.code,
        }


def success(details: dict[str, Any]) -> dict[str, Any]:
    """The `Status` object of a finished deletion."""
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def _details(group: str, kind: str, name: str, causes: Sequence[Cause] = ()) -> dict[str, Any]:
    details: dict[str, Any] = {}
    if name:
        details["name"] = name
    if group:
        details["group"] = group
    if kind:
        details["kind"] = kind
    if causes:
        details["causes"] = list(causes)
    return details


def not_found(group: str, plural: str, name: str) -> APIError:
    """404: no such object."""
    message = f'{qualified(group, plural)} "{name}" not found'
    return APIError(404, "NotFound", message, _details(group, plural, name))


def already_exists(group: str, plural: str, name: str) -> APIError:
    """409: the name is taken."""
    message = f'{qualified(group, plural)} "{name}" already exists'
    return APIError(409, "AlreadyExists", message, _details(group, plural, name))


def conflict(group: str, plural: str, name: str, why: str = "", causes: Sequence[Cause] = ()) -> APIError:
    """409: the object has changed, or another manager owns the field."""
    why = why or (
        "the object has been modified; please apply your changes to the latest version and try again"
    )
    message = f'Operation cannot be fulfilled on {qualified(group, plural)} "{name}": {why}'
    return APIError(409, "Conflict", message, _details(group, plural, name, causes))


def apply_conflict(causes: Sequence[Cause]) -> APIError:
    """409 of a server-side apply: ``causes`` name the managers and the fields."""
    listed = "\n".join(f"- {cause['message'][len('conflict with ') :]}: {cause['field']}" for cause in causes)
    if len(causes) == 1:
        message = f"Apply failed with 1 conflict: {causes[0]['message']}: {causes[0]['field']}"
    else:
        message = f"Apply failed with {len(causes)} conflicts: conflicts:\n{listed}"
    return APIError(409, "Conflict", message, {"causes": list(causes)})


def invalid(group: str, kind: str, name: str, field: str, problem: str, cause: str) -> APIError:
    """422: ``field`` is wrong; ``cause`` is e.g. ``FieldValueRequired``."""
    return invalid_fields(group, kind, name, [{"reason": cause, "message": problem, "field": field}])


def invalid_fields(group: str, kind: str, name: str, causes: Sequence[Cause]) -> APIError:
    """422: several fields are wrong."""
    said = ", ".join(f"{cause['field']}: {cause['message']}" for cause in causes)
    if len(causes) > 1:
        said = f"[{said}]"
    message = f'{qualified(group, kind)} "{name}" is invalid: {said}'
    return APIError(422, "Invalid", message, _details(group, kind, name, causes))


def bad_request(message: str) -> APIError:
    """400."""
    return APIError(400, "BadRequest", message)


def unauthorized() -> APIError:
    """401: the credentials are unknown."""
    return APIError(401, "Unauthorized", "Unauthorized")


def forbidden(group: str, plural: str, name: str, why: str) -> APIError:
    """403."""
    subject = qualified(group, plural)
    subject = f'{subject} "{name}" is forbidden' if name else f"{subject} is forbidden"
    return APIError(403, "Forbidden", f"{subject}: {why}", _details(group, plural, name))


def method_not_allowed() -> APIError:
    """405."""
    return APIError(
        405, "MethodNotAllowed", "the server does not allow this method on the requested resource"
    )


def not_acceptable(accepted: Sequence[str]) -> APIError:
    """406: no media type in Accept is supported."""
    message = f"only the following media types are accepted: {', '.join(accepted)}"
    return APIError(406, "NotAcceptable", message)


def unsupported_media_type(accepted: Sequence[str], why: str = "") -> APIError:
    """415: the body's media type is not supported."""
    message = (
        f"the body of the request was in an unknown format{why and f' ({why})'} - "
        f"accepted media types include: {', '.join(accepted)}"
    )
    return APIError(415, "UnsupportedMediaType", message)


def expired(message: str, continue_token: str = "") -> APIError:
    """410: the version is compacted. A list may continue from the token, inconsistently."""
    return APIError(410, "Expired", message, metadata={"continue": continue_token} if continue_token else {})


def too_old(asked: int, oldest: int) -> APIError:
    """410 of a watch."""
    return expired(f"too old resource version: {asked} ({oldest})")


def too_large(asked: int, current: int) -> APIError:
    """504: the resourceVersion is higher than the current one."""
    causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    message = f"Timeout: Too large resource version: {asked}, current: {current}"
    return APIError(504, "Timeout", message, {"causes": causes, "retryAfterSeconds": 1})


def internal(message: str) -> APIError:
    """500."""
    causes = {"causes": [{"message": message}]}
    return APIError(500, "InternalError", f"Internal error occurred: {message}", causes)


def unavailable(message: str) -> APIError:
    """503."""
    return APIError(503, "ServiceUnavailable", message)
