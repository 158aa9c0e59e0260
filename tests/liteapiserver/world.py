"""A lite-apiserver between raw clients and an API server that does what a test says, over real TLS."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater

from superedge.config.addresses import TCPAddress
from superedge.config.liteapiserver import CacheConfig, LiteAPIServerConfig, UpstreamConfig
from superedge.interfaces import ICacheStorePlugin, IReactor
from superedge.liteapiserver.access.credentials import read_claims
from superedge.liteapiserver.access.issuer import CONFIGURATION, KEYS
from superedge.liteapiserver.service import LiteAPIServer
from superedge.liteapiserver.upstream.fetch import USER_AGENT
from superedge.liteapiserver.upstream.tokenreviewer import PATH as REVIEWS
from superedge.net.endpoints import ClientEndpoint, ServerEndpoint
from superedge.plugin import find_plugin
from superedge.tls.authority import Authority
from superedge.tls.contexts import ClientContextSource, ServerContextSource, file_stamp
from superedge.tls.identity import Identity
from superedge.tls.reload import FileWatcher
from superedge.web.channels import SwitchedConnection
from superedge.web.client import H1Connection
from superedge.web.heads import Headers, ResponseHead, request_head
from superedge.web.serverrequest import Request
from tests.web.h2server import BothFactory

reactor = cast(IReactor, _reactor)
# A busy machine is no outage.
PATIENT = {"probe_interval": 0.1, "probe_timeout": 10.0, "connect_timeout": 10.0}
IMPATIENT = {"probe_interval": 0.1, "probe_timeout": 0.3, "connect_timeout": 1.0}
"""For tests of a cloud that goes without a word."""
NODE = "system:node:edge-1"
# What lite-apiserver reads for itself.
OWN_READS = {b"/readyz", CONFIGURATION.encode(), KEYS.encode(), REVIEWS.encode()}
JSON: Headers = [(b"Content-Type", b"application/json"), (b"Audit-Id", b"1")]


async def until(condition: Callable[[], object], what: str = "", seconds: float = 60.0) -> None:
    """Wait for something that other processes or the network bring about."""
    end = reactor.seconds() + seconds
    while not condition():
        if reactor.seconds() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        await deferLater(reactor, 0.01)


class Seen(NamedTuple):
    """A request as the API server saw it; ``done`` fires with its body."""

    request: Request
    name: str | None
    body: list[bytes]
    done: Deferred[bytes]

    @property
    def target(self) -> bytes:
        return self.request.head.target


class _Body:
    def __init__(self, seen: Seen, answer: Callable[[Seen], None]) -> None:
        self.seen = seen
        self.answer = answer
        self.trailers: Headers = []
        self.lost = False

    def body(self, data: bytes) -> None:
        self.seen.body.append(data)

    def body_end(self, trailers: Headers) -> None:
        self.trailers = trailers
        self.seen.done.callback(b"".join(self.seen.body))
        self.answer(self.seen)

    def client_lost(self) -> None:
        self.lost = True


def _asks_for_history(request: Request) -> bool:
    """Whether lite-apiserver asks for itself how far the history of a resource goes."""
    agents = [value for name, value in request.head.headers if name.lower() == b"user-agent"]
    return agents == [USER_AGENT] and request.head.target.endswith(b"limit=1")


def _answered_already(_seen: Seen) -> None:
    pass


class Upstream:
    """Answers ``/readyz`` and what ``answers`` has by path; anything else is a 404 Status."""

    def __init__(self, tls: ServerContextSource) -> None:
        self.tls = tls
        self.factory = BothFactory(self._handle)
        self.answers: dict[bytes, Callable[[Seen], None]] = {REVIEWS.encode(): self.tell_user}
        self.early: dict[bytes, Callable[[Seen], None]] = {}
        self.seen: list[Seen] = []
        self.bodies: list[_Body] = []
        self.forged: set[str] = set()
        self.reviewed: list[str] = []
        """Tokens that were asked about."""
        self.revision = 0
        """How far its history goes, for who asks; 0 for a server that does not say."""
        self.port: IListeningPort | None = None
        self.number = 0

    async def start(self, factory: Any = None, tls: ServerContextSource | None = None) -> None:
        context = None if factory is not None and tls is None else (tls or self.tls)
        endpoint = ServerEndpoint(reactor, TCPAddress("127.0.0.1", self.number), context, lambda *_: None)
        self.factory.stopped = False
        self.port = await endpoint.listen(factory or cast(Any, self.factory))
        self.number = cast(Any, self.port.getHost()).port

    def stop(self) -> None:
        if self.port is not None:
            self.port.stopListening()
            self.port = None
        self.factory.stopped = True
        self.factory.abort()

    def _handle(self, request: Request) -> None:
        seen = Seen(request, request.transport.peer_common_name, [], Deferred())
        path = request.head.target.partition(b"?")[0]
        if _asks_for_history(request):
            request.receive(_Body(seen, self.tell_revision))
            return
        if path not in OWN_READS:
            self.seen.append(seen)
        answer = _answered_already if path in self.early else self.answers.get(path, self._default)
        body = _Body(seen, answer)
        self.bodies.append(body)
        if path in self.early:
            self.early[path](seen)
        request.receive(body)

    def tell_user(self, seen: Seen) -> None:
        """Answer a SelfSubjectReview as one that takes every bearer token but those of ``forged``."""
        headers = seen.request.head.headers
        scheme, _, token = dict(headers).get(b"Authorization", b"").decode().partition(" ")
        claims = read_claims(token)
        name = "" if scheme != "Bearer" else claims.sub if claims is not None else f"user of {token}"
        self.reviewed.append(token)
        if token in self.forged:
            seen.request.respond(401, list(JSON), b'{"kind":"Status","code":401}')
            return
        review = {
            "kind": "SelfSubjectReview",
            "status": {"userInfo": {"username": name or "system:anonymous"}},
        }
        seen.request.respond(201, list(JSON), json.dumps(review).encode())

    def tell_revision(self, seen: Seen) -> None:
        if self.revision:
            meta = {"resourceVersion": str(self.revision)}
            found = {"kind": "PartialObjectMetadataList", "metadata": meta, "items": []}
            seen.request.respond(200, list(JSON), json.dumps(found).encode())
        else:
            self._default(seen)

    def _default(self, seen: Seen) -> None:
        if seen.target == b"/readyz":
            seen.request.respond(200, [(b"Content-Type", b"text/plain")], b"ok")
        else:
            status = {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}
            seen.request.respond(404, list(JSON), json.dumps(status).encode())

    def serve(self, path: bytes, body: bytes, status: int = 200, headers: Headers = JSON) -> None:
        """Answer a path with a body."""
        self.answers[path] = lambda seen: seen.request.respond(status, list(headers), body)


class Response:
    """A response as a client reads it; ``over`` fires when it ends, with why when it was cut short."""

    def __init__(self) -> None:
        self.heads: list[ResponseHead] = []
        self.pieces: list[bytes] = []
        self.trailers: Headers = []
        self.begun: Deferred[None] = Deferred()
        self.over: Deferred[str] = Deferred()
        self.connection: H1Connection | None = None
        self.switched_with: bytes | None = None

    @property
    def status(self) -> int:
        return self.heads[-1].status

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    def header(self, name: bytes) -> bytes:
        return b",".join(value for key, value in self.heads[-1].headers if key.lower() == name)

    def response(self, head: ResponseHead) -> None:
        self.heads.append(head)
        if head.status >= 200:
            self.begun.callback(None)

    def data(self, pieces: list[bytes]) -> None:
        self.pieces += pieces

    def complete(self, trailers: Headers) -> None:
        self.trailers = trailers
        self.over.callback("")

    def read_complete(self) -> None:
        pass

    def switched(self, connection: SwitchedConnection, rest: bytes) -> None:
        self.switched_with = rest
        self.over.callback("switched")

    def failed(self, reason: str) -> None:
        if not self.begun.called:
            self.begun.callback(None)
        self.over.callback(reason or "failed")


class _Clients(Factory):
    noisy = False

    def buildProtocol(self, addr: Any) -> H1Connection:
        return H1Connection(lambda _: None)


class World:
    """Certificates, an API server, a lite-apiserver and its clients under one directory."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.directory = directory
        directory.mkdir(parents=True)
        self.authority = Authority.create(directory / "ca", "cluster")
        self.pairs = directory / "identities"
        self.pairs.mkdir()
        server = self.authority.issue("server", ips=["127.0.0.1"], directory=directory, name="server")
        self.server_pair = server
        self.node = self.authority.issue(NODE, ["system:nodes"], directory=self.pairs, name="node")
        self.http2 = options.pop("http2", "watches")
        self.tls = ServerContextSource(
            server.certificate, server.key, [self.authority.path], "optional", ["h2", "http/1.1"]
        )
        self.upstream = Upstream(self.tls)
        self.others: list[Upstream] = []
        """More API servers, tried in their order after the first."""
        self.filters = options.pop("filters", ())
        self.store = options.pop("store", "file")
        self.timing: dict[str, Any] = options.pop("timing", PATIENT)
        self.resume_within: float = options.pop("resume_within", 0.0)
        self.host = options.pop("host", "127.0.0.1")
        self.servers: list[str] = []
        """Addresses to be used instead of the API servers' own."""
        self.server_name = "127.0.0.1"
        self.options = options
        self.lite: LiteAPIServer | None = None
        self.connections: list[H1Connection] = []
        self._tls_of_clients: dict[object, ClientContextSource] = {}

    async def start(self) -> None:
        for upstream in (self.upstream, *self.others):
            await upstream.start()
        await self.start_lite()
        await until(lambda: self.lite is not None and self.lite.health.state == "online", "online")

    async def start_lite(self) -> None:
        config = LiteAPIServerConfig(
            listen=["127.0.0.1:0"],
            certificate=self.server_pair.certificate,
            key=self.server_pair.key,
            client_ca=[self.authority.path],
            identities=[self.pairs],
            upstream=UpstreamConfig(
                servers=self.servers
                or [f"{self.host}:{each.number}" for each in (self.upstream, *self.others)],
                server_name=self.server_name,
                ca=[self.authority.path],
                http2=self.http2,
                **self.timing,
            ),
            cache=CacheConfig(path=self.directory / "cache", commit_interval=0.0, store=self.store),
            resume_within=self.resume_within,
            drain_timeout=0.2,
            **self.options,
        )
        store = find_plugin(ICacheStorePlugin, self.store, "store").create(
            reactor, str(config.cache.path), {}
        )
        self.lite = LiteAPIServer(reactor, config, FileWatcher(reactor), store, self.filters)
        self.lite.startService()

    @property
    def state(self) -> str:
        assert self.lite is not None
        return self.lite.health.state

    async def stop_lite(self) -> None:
        if self.lite is not None:
            lite, self.lite = self.lite, None
            await lite.stopService()

    async def stop(self) -> None:
        for connection in self.connections:
            connection.transport.abortConnection()
        await self.stop_lite()
        for upstream in (self.upstream, *self.others):
            upstream.stop()
        await deferLater(reactor, 0.02)

    def _client_tls(self, identity: Identity | None) -> ClientContextSource:
        """A source for each content of the files, since to make one costs more than to connect."""
        pair = (identity.certificate, identity.key) if identity is not None else ()
        content = tuple((path, file_stamp(path)) for path in (self.authority.path, *pair))
        if content not in self._tls_of_clients:
            self._tls_of_clients[content] = ClientContextSource([self.authority.path], *pair)
        return self._tls_of_clients[content]

    async def connect(self, identity: Identity | None = None) -> H1Connection:
        """A client's connection."""
        assert self.lite is not None
        address = self.lite.addresses[0]
        endpoint = ClientEndpoint(reactor, TCPAddress("127.0.0.1", address.port), self._client_tls(identity))
        connection = cast(H1Connection, await endpoint.connect(cast(Any, _Clients())))
        self.connections.append(connection)
        return connection

    async def send(
        self,
        method: str,
        target: str,
        headers: Sequence[tuple[bytes, bytes]] = (),
        body: bytes = b"",
        identity: Identity | None = None,
        connection: H1Connection | None = None,
    ) -> Response:
        """Send a request and do not wait for its response."""
        response = Response()
        connection = connection or await self.connect(identity)
        response.connection = connection
        every = [(b"Host", b"127.0.0.1:51003"), *headers]
        if body:
            every.append((b"Content-Length", b"%d" % len(body)))
        head = request_head(method.encode(), target.encode(), every)
        connection.request(head + body, method == "HEAD", True, response)
        return response

    async def ask(self, method: str, target: str, *arguments: Any, **options: Any) -> Response:
        """Send a request and read the whole response."""
        response = await self.send(method, target, *arguments, **options)
        await response.over
        return response

    async def get(self, target: str, **options: Any) -> Response:
        """As the node."""
        return await self.ask("GET", target, identity=self.node, **options)

    async def judged(self) -> None:
        """Wait until every token that was seen is judged."""
        assert self.lite is not None
        await until(lambda: self.lite is None or self.lite.token_reviewer.idle, "tokens are judged")

    async def go_offline(self) -> None:
        await self.judged()
        self.upstream.stop()
        await until(lambda: self.state == "offline", "offline")


class Greeter(Protocol):
    """Says something that is no TLS and no HTTP."""

    def connectionMade(self) -> None:
        cast(Any, self.transport).write(b"SSH-2.0-OpenSSH_9.2p1\r\n")


class Silent(Protocol):
    """A black hole: takes everything and never answers."""


def listener(protocol: type[Protocol]) -> Factory:
    """A factory for one of the above."""
    factory = Factory()
    factory.protocol = protocol
    factory.noisy = False
    return factory
