"""The answers of the cache, worded as the API server words them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from superedge.kube.media import JSON
from superedge.kube.objects import version_number
from superedge.kube.request import RequestInfo, qualified
from superedge.kube.status import status_body
from superedge.web.heads import Headers

_MAX_DESCRIPTION = 600
"""Characters of the longest description of a request; names have at most 253."""
STALE = (b"Warning", b'110 - "response is stale: the cloud is unreachable"')


def stale_warning(since: float) -> bytes:
    """A Warning header of code 299, which kubectl prints; ``since`` is Unix time."""
    moment = datetime.fromtimestamp(since, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f'299 - "the cloud is out of reach since {moment}; this is what was known then"'.encode()


@dataclass(slots=True)
class Answer:
    """A complete response. ``outcome`` is ``hit``, ``miss`` or ``refused``."""

    status: int
    headers: Headers
    body: bytes
    outcome: str
    message: str = ""
    """The message of a failure's Status."""

    def with_reason(self, reason: str) -> Answer:
        """The same failure with the reason why the cloud is unreachable; other answers are not changed."""
        if not self.message:
            return self
        return failure(self.status, f"{self.message} ({reason})", outcome=self.outcome)


@dataclass(slots=True)
class WatchAnswer:
    """A watch to hold open: ``frames`` are sent at once, then bookmarks only."""

    headers: Headers
    frames: list[bytes]
    timeout: float | None
    """Seconds the client asked for."""
    bookmark: bytes | None
    """A bookmark at the version that `frames` lead to, or at the client's if that is later; None for a client
    that did not ask for bookmarks. It never advances: the client sees no later events here, and must not skip
    them when it watches again."""
    outcome: str = field(default="hit")


def stale_headers(content_type: str, age: float) -> Headers:
    """Headers of an answer that is ``age`` seconds old (RFC 9111 section 5.1; RFC 7234 section 5.5)."""
    return [
        (b"Content-Type", content_type.encode("latin-1", "replace")),
        (b"Cache-Control", b"no-cache, private"),
        (b"Age", b"%d" % max(0, int(age))),
        STALE,
    ]


def failure(code: int, message: str, reason: str = "", outcome: str = "miss") -> Answer:
    """A Status as answer."""
    body = status_body(code, message, reason)
    headers = [(b"Content-Type", JSON.encode()), (b"Cache-Control", b"no-cache, private")]
    return Answer(code, headers, body, outcome, message)


def too_new(wanted: int, known: int) -> Answer:
    """A client names a version newer than the cached one; client-go then asks again without it."""
    details: dict[str, object] = {
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    }
    message = f"Timeout: Too large resource version: {wanted}, current: {known}"
    headers = [(b"Content-Type", JSON.encode()), (b"Cache-Control", b"no-cache, private")]
    return Answer(504, headers, status_body(504, message, "Timeout", details), "hit")


def beyond_history(request: RequestInfo, end: int) -> Answer:
    """A client names a version beyond the end of the history of a restored cluster."""
    version = request.query.get("resourceVersion", "")
    if request.verb == "list":
        return too_new(version_number(version), end)
    message = f"the cluster was restored from a backup: its history ends at {end}, before {version}"
    return failure(410, message, outcome="refused")


def describe(request: RequestInfo) -> str:
    """A description of a request's target for messages: ``pods "a" in namespace "b"``."""
    text = _describe(request)
    return text if len(text) <= _MAX_DESCRIPTION else f"{text[:_MAX_DESCRIPTION]}..."


def _describe(request: RequestInfo) -> str:
    if not request.is_resource:
        return request.path
    name = qualified(request.group, request.resource)
    if request.subresource:
        name += f"/{request.subresource}"
    if request.name:
        name += f' "{request.name}"'
    return f'{name} in namespace "{request.namespace}"' if request.namespace else name


def not_cached(request: RequestInfo) -> Answer:
    """503: the target is not cached. A 404 would say that it does not exist."""
    return failure(
        503, f"the cloud is unreachable, and the cache of this client does not hold {describe(request)}"
    )


def forbidden(request: RequestInfo) -> Answer:
    """403, as the cloud answered last."""
    message = f"{describe(request)} is forbidden: the cloud said so before it became unreachable"
    return failure(403, message, outcome="hit")


def cloud_only(request: RequestInfo) -> Answer:
    """503 for a request that only the cloud can answer."""
    verb = request.verb or request.method
    message = f"the cloud is unreachable: {verb} of {describe(request)} is not possible now"
    return failure(503, message, outcome="refused")
