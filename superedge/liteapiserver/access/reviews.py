"""Answers SubjectAccessReview, TokenReview and similar requests from recent responses of the cloud.

The kubelet sends them before it serves ``logs`` or ``exec``. Sources: Kubernetes authorization.k8s.io/v1 and
authentication.k8s.io/v1 (protobuf: TokenReview has its spec in 2, the token in 1 of that).
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import NamedTuple

import msgspec

from superedge.kube.errors import JSON_FAULTS, DecodeError
from superedge.kube.media import JSON, accepted, parse_media_type
from superedge.kube.protobuf import split_envelope
from superedge.kube.request import RequestInfo
from superedge.kube.wire import BYTES, walk
from superedge.liteapiserver.access.credentials import read_claims
from superedge.liteapiserver.access.expiring import ExpiringTable
from superedge.liteapiserver.cache.answers import Answer, cloud_only, stale_headers

MAX_BYTES = 8 * 1024 * 1024
"""Bytes of the responses that are kept."""
_REVIEWS = frozenset(
    {
        ("authorization.k8s.io", "subjectaccessreviews"),
        ("authorization.k8s.io", "localsubjectaccessreviews"),
        ("authorization.k8s.io", "selfsubjectaccessreviews"),
        ("authorization.k8s.io", "selfsubjectrulesreviews"),
        ("authentication.k8s.io", "tokenreviews"),
        ("authentication.k8s.io", "selfsubjectreviews"),
    }
)


class _Spec(msgspec.Struct):
    token: str = ""


class _TokenReview(msgspec.Struct):
    spec: _Spec


class _Kept(NamedTuple):
    at: float
    expires: float | None
    """Unix time at which the reviewed token expires."""
    content_type: str
    body: bytes


_json = msgspec.json.Decoder(_TokenReview)


def is_review(request: RequestInfo) -> bool:
    """Whether a request is a review, which changes nothing."""
    return (
        request.verb == "create"
        and (request.group, request.resource) in _REVIEWS
        and not request.name
        and not request.subresource
    )


def _reviewed_token(media_type: str, body: bytes) -> str:
    """The token in a TokenReview. Raises DecodeError."""
    try:
        if media_type == JSON:
            return _json.decode(body).spec.token
        raw = split_envelope(body)[2]
        for number, wire, start, end in walk(raw):
            if number == 2 and wire == BYTES:
                for inner, inner_wire, a, b in walk(raw, start, end):
                    if inner == 1 and inner_wire == BYTES:
                        return raw[a:b].decode()
    except JSON_FAULTS as problem:
        raise DecodeError(f"not a TokenReview: {problem}") from problem
    return ""


class Reviews:
    """Responses by identity and request body. They are kept in memory only, as the bodies hold tokens."""

    def __init__(self, seconds: float, monotonic: Callable[[], float], clock: Callable[[], float]) -> None:
        """``seconds`` is how long a response is used, by the monotonic clock ``monotonic``.

        ``clock`` gives Unix time, for the expiry of tokens.
        """
        self._seconds = seconds
        self._monotonic = monotonic
        self._clock = clock
        self._held: ExpiringTable[tuple[str, str, str, str], _Kept] = ExpiringTable(MAX_BYTES, lambda _: None)

    @staticmethod
    def _key(
        identity: str, request: RequestInfo, request_body: bytes, form: str
    ) -> tuple[str, str, str, str]:
        return (identity, request.path, sha256(request_body).hexdigest(), form)

    def record(
        self, identity: str, request: RequestInfo, request_body: bytes, content_type: str, body: bytes
    ) -> None:
        """Keep a response with status 201. Raises DecodeError."""
        form = parse_media_type(content_type)
        expires = None
        if request.resource == "tokenreviews":
            claims = read_claims(_reviewed_token(form.media_type, body))
            expires = claims.exp if claims is not None else None
        key = self._key(identity, request, request_body, str(form))
        now = self._monotonic()
        held = _Kept(now, expires, content_type, body)
        if self._is_valid(held):
            size = len(body) + len(content_type) + sum(map(len, key))
            self._held.put(identity, key, held, now + self._seconds, now, size)

    def _is_valid(self, held: _Kept) -> bool:
        still = self._monotonic() - held.at < self._seconds
        return still and (held.expires is None or self._clock() < held.expires)

    def answer(self, identity: str, request: RequestInfo, request_body: bytes) -> Answer:
        """The response to the same body if it is still valid, else 503."""
        for form in accepted(request.accept):
            held = self._held.get(self._key(identity, request, request_body, str(form)))
            if held is not None and self._is_valid(held):
                age = self._monotonic() - held.at
                return Answer(201, stale_headers(held.content_type, age), held.body, "hit")
        return cloud_only(request)
