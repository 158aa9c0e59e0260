"""What an exchange needs of the frontend that started it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from superedge.kube.request import RequestInfo
    from superedge.liteapiserver.access.authrequests import AuthRequests
    from superedge.liteapiserver.access.caller import Caller
    from superedge.liteapiserver.cache.cache import Cache
    from superedge.liteapiserver.forward.filters import Filters
    from superedge.liteapiserver.upstream.health import Health
    from superedge.web.bounded import BoundedBody
    from superedge.web.serverrequest import Request


class Answers(Protocol):
    """What answers without the cloud; implemented by `Answering`."""

    def wrote_whole(self, request: Request, caller: Caller) -> None:
        """A response that was whole in memory was written to the client."""

    def hold(self, request: Request, info: RequestInfo, started_at: float) -> None:
        """Keep a watch open whose connection to the cloud was lost; it came at ``started_at``."""

    def unknown_outcome(self, request: Request, info: RequestInfo) -> None:
        """Answer a write that was sent and whose outcome is not known."""

    def auth_request(
        self, request: Request, info: RequestInfo, caller: Caller, body: BoundedBody, whole: bool = False
    ) -> None:
        """Answer an auth request from the cache; ``whole`` says that ``body`` is all of its body."""

    def offline(self, request: Request, info: RequestInfo, caller: Caller) -> None:
        """Answer any other request from the cache."""


class ExchangeOwner(Protocol):
    """Implemented by the frontend."""

    health: Health
    cache: Cache
    auth_requests: AuthRequests
    filters: Filters

    @property
    def answers(self) -> Answers:
        """What answers without the cloud."""

    def check_token(self, caller: Caller, info: RequestInfo, status: int) -> None:
        """An API server answered a request that may carry a token."""

    def believes_refusal(self, caller: Caller) -> bool:
        """Whether a 403 of an API server is its judgement on who the credentials name."""

    def answering(self, info: RequestInfo, status: int, started_at: float) -> None:
        """The response to a request begins that came at ``started_at``, reactor seconds."""
