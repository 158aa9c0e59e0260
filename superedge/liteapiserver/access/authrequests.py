"""Auth requests: TokenRequest and reviews. They are POSTs whose answer depends on the body. Pure."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from superedge.kube.errors import DecodeError
from superedge.kube.request import RequestInfo
from superedge.liteapiserver.access.reviews import Reviews, is_review
from superedge.liteapiserver.access.tokens import TokenCache, is_token_request
from superedge.liteapiserver.cache.answers import Answer
from superedge.web.bounded import BoundedBody

MAX_BODY = 256 * 1024
"""Bytes of the longest request body and of the longest response that are kept."""

_log = Logger()


def is_auth_request(request: RequestInfo) -> bool:
    """Whether the response to a request may be used again for the same body."""
    return request.verb == "create" and (is_token_request(request) or is_review(request))


class AuthRequests:
    """Keeps the cloud's responses, and answers from them while the cloud is away."""

    def __init__(self, tokens: TokenCache, reviews: Reviews, issued: Callable[[str], None]) -> None:
        """``issued`` is called with each token that the cloud issued."""
        self._tokens = tokens
        self._reviews = reviews
        self._issued = issued

    def record(
        self, identity: str, request: RequestInfo, request_body: bytes, content_type: str, body: bytes
    ) -> None:
        """Keep a response with status 201. Raises DecodeError."""
        if is_token_request(request):
            self._issued(self._tokens.record(identity, request, request_body, content_type, body))
        else:
            self._reviews.record(identity, request, request_body, content_type, body)

    def answer(self, identity: str, request: RequestInfo, request_body: bytes) -> Answer:
        """The 201 that the cloud sent, else 503."""
        if is_token_request(request):
            return self._tokens.answer(identity, request, request_body)
        return self._reviews.answer(identity, request, request_body)


class AuthRequestRecorder:
    """Collects the body of an auth request and the response to it."""

    def __init__(self, auth_requests: AuthRequests, identity: str, request: RequestInfo) -> None:
        self._auth_requests = auth_requests
        self._identity = identity
        self._request = request
        self._answer: BoundedBody | None = None
        self._content_type = ""
        self.body = BoundedBody(MAX_BODY)
        """The request's body so far."""
        self.whole = False
        """Whether the request's body is complete."""

    def answered(self, status: int, content_type: bytes) -> None:
        """Take the response's head."""
        if status == 201:
            self._answer = BoundedBody(MAX_BODY)
            self._content_type = content_type.decode("latin-1")

    def data(self, chunks: list[bytes]) -> None:
        """Take some of the response's body."""
        if self._answer is not None:
            for chunk in chunks:
                self._answer.add(chunk)

    def complete(self) -> None:
        """The response is complete: keep it."""
        answer = self._answer.value if self._answer is not None else None
        request_body = self.body.value
        if answer is None or request_body is None or not self.whole:
            return
        try:
            self._auth_requests.record(
                self._identity, self._request, request_body, self._content_type, answer
            )
        except DecodeError as problem:
            _log.warn(
                "the response to {path} is not kept: {problem}",
                path=self._request.path,
                problem=problem,
            )
