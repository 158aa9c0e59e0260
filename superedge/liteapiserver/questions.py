"""Requests that are written like a change and only ask: TokenRequest and reviews. Their bodies decide."""

from __future__ import annotations

from superedge.kube.request import RequestInfo
from superedge.liteapiserver.cache.answers import Answer
from superedge.liteapiserver.credentials import Credentials
from superedge.liteapiserver.reviews import Reviews, is_review
from superedge.liteapiserver.tokens import TokenVault, is_token_request

MAX_BODY = 256 * 1024
"""Bytes of the longest question, and of the longest answer, that are kept."""


def is_question(request: RequestInfo) -> bool:
    """Whether the answer to the same body may be given again."""
    return is_token_request(request) or is_review(request)


class Questions:
    """What the cloud answered, for when it is away."""

    def __init__(self, tokens: TokenVault, reviews: Reviews, credentials: Credentials) -> None:
        """``credentials`` hears of tokens that were made."""
        self._tokens = tokens
        self._reviews = reviews
        self._credentials = credentials

    def record(
        self, identity: str, request: RequestInfo, question: bytes, content_type: str, body: bytes
    ) -> None:
        """Keep an answer (201). Raises DecodeError."""
        if is_token_request(request):
            token = self._tokens.record(identity, request, question, content_type, body)
            self._credentials.issued(token)
        else:
            self._reviews.record(identity, request, question, content_type, body)

    def answer(self, identity: str, request: RequestInfo, question: bytes) -> Answer:
        """201 as the cloud answered, else 503."""
        if is_token_request(request):
            return self._tokens.answer(identity, request, question)
        return self._reviews.answer(identity, request, question)
