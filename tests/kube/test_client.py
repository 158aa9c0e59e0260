"""The client and the reflector on the embedded API server, and on servers that misbehave."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from superedge.config.addresses import TCPAddress
from superedge.kube.access import Access, Token, from_kubeconfig
from superedge.kube.client import CONFIGMAPS, KubeClient
from superedge.kube.errors import APIError, Unavailable
from superedge.kube.json import DeepJSONCodec, decode
from superedge.kube.objects import Item, WatchEvent
from superedge.kube.reflector import Key, Reflector
from superedge.net.endpoints import ServerEndpoint
from superedge.tls.authority import Authority
from superedge.tls.contexts import ClientContextSource, ServerContextSource
from tests.events import logged
from tests.kube.contract import ClientContract
from tests.testing.server import shared


class CertificateTests(ClientContract, TestCase):
    """The contract with a client certificate."""

    async def begin(self) -> None:
        self.made = KubeClient(self.reactor, from_kubeconfig(shared().kubeconfig))
        self.client = self.made

    async def compact(self) -> None:
        shared().compact()
        await deferLater(self.reactor, 0.2)

    async def finish(self) -> None:
        self.made.close()


class TokenTests(CertificateTests):
    """The contract with a bearer token."""

    async def begin(self) -> None:
        self.made = KubeClient(self.reactor, from_kubeconfig(shared().directory / "token.kubeconfig"))
        self.client = self.made


class Scripted(Protocol):
    """Answers each request with the next line of a script; ``None`` hangs up without a word."""

    transport: Any
    script: list[bytes | None]
    seen: list[bytes]

    def dataReceived(self, data: bytes) -> None:
        self.seen.append(data)
        answer = self.script.pop(0)
        if answer is None:
            self.transport.loseConnection()
        else:
            self.transport.write(answer)


def answer(body: bytes, status: bytes = b"200 OK", more: bytes = b"") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n%b\r\n%b" % (status, len(body), more, body)


class MisbehaviourTests(TestCase):
    reactor = ClientContract.reactor

    async def setUp(self) -> None:  # type: ignore[override]
        directory = Path(self.mktemp())
        ca = Authority.create(directory)
        pair = ca.issue("api", ips=["127.0.0.1"], directory=directory)
        tls = ServerContextSource(pair.certificate, pair.key)
        self.script: list[bytes | None] = []
        self.seen: list[bytes] = []
        factory = Factory()
        factory.noisy = False
        factory.protocol = type("Bound", (Scripted,), {"script": self.script, "seen": self.seen})
        self.port = await ServerEndpoint(self.reactor, TCPAddress("127.0.0.1", 0), tls).listen(
            cast(Any, factory)
        )
        self.token = directory / "token"
        self.token.write_text("first\n")
        self.access = Access(
            TCPAddress("127.0.0.1", cast(Any, self.port.getHost()).port),
            ClientContextSource([ca.path]),
            Token(path=self.token),
            prefix="/clusters/1",
        )
        self.client = KubeClient(self.reactor, self.access, timeout=0.5)

    async def tearDown(self) -> None:  # type: ignore[override]
        self.client.close()
        await cast(Any, self.port.stopListening())
        await deferLater(self.reactor, 0.01)

    async def fails(self, call: Any, kind: type[Exception]) -> Any:
        return await self.assertFailure(Deferred.fromCoroutine(call), kind)

    async def test_a_confirmed_read_is_not_one_from_a_cache(self) -> None:
        stale = b'Warning: 110 - "response is stale: the cloud is unreachable"\r\n'
        self.script += [answer(b"{}", more=stale), answer(b"{}", more=stale), answer(b"{}")]
        self.assertEqual(await self.client.call("GET", "/api"), b"{}")
        problem = await self.fails(self.client.read_confirmed("/api"), Unavailable)
        self.assertIn('did not answer itself: 110 - "response is stale', str(problem))
        self.assertEqual(await self.client.read_confirmed("/api", {"limit": "1"}), b"{}")
        self.assertIn(b"GET /clusters/1/api?limit=1 HTTP/1.1", self.seen[-1])
        self.script.append(answer(b'{"reason":"NotFound"}', b"404 Not Found"))
        self.assertEqual((await self.fails(self.client.read_confirmed("/api"), APIError)).code, 404)

    async def test_a_token_is_read_anew(self) -> None:
        self.script += [answer(b"{}"), answer(b"{}")]
        await self.client.call("GET", "/api")
        self.token.write_text("second-longer")
        await self.client.call("GET", "/api")
        self.assertIn(b"GET /clusters/1/api HTTP/1.1", self.seen[0])
        self.assertIn(b"Authorization: Bearer first\r\n", self.seen[0])
        self.assertIn(b"Authorization: Bearer second-longer\r\n", self.seen[1])

    async def test_a_read_on_a_connection_that_was_just_closed(self) -> None:
        self.script += [answer(b"1"), None, answer(b"2")]
        await self.client.call("GET", "/api")
        self.assertEqual(await self.client.call("GET", "/api"), b"2")

    async def test_a_write_is_not_sent_twice(self) -> None:
        self.script += [answer(b"1"), None]
        await self.client.call("GET", "/api")
        await self.fails(self.client.call("POST", "/api", body={}), Unavailable)
        self.assertEqual(len(self.seen), 2)

    async def test_silence(self) -> None:
        self.script += [b""]
        late = await self.fails(self.client.call("GET", "/api"), Unavailable)
        self.assertIn("did not answer within 0.5 s", str(late))

    async def test_no_http(self) -> None:
        self.script += [b"SSH-2.0\r\n\r\n"]
        await self.fails(self.client.call("GET", "/api"), Unavailable)

    async def test_a_refusal_that_is_no_status(self) -> None:
        self.script += [answer(b"<html>", b"502 Bad Gateway")]
        refused = await self.fails(self.client.call("GET", "/api"), APIError)
        self.assertEqual((refused.code, str(refused)), (502, "502: <html>"))

    async def test_nobody_listens(self) -> None:
        await cast(Any, self.port.stopListening())
        await self.fails(self.client.call("GET", "/api"), Unavailable)


class FakeClient:
    """Lists and watches as a test says."""

    def __init__(self) -> None:
        self.lists: list[bytes | Exception] = []
        self.watches: list[tuple[str, Any, Deferred[None]]] = []

    async def call(
        self, method: str, path: str, query: Any = None, body: Any = None, content_type: str = ""
    ) -> bytes:
        found = self.lists.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    async def watch(self, path: str, query: Any, seconds: int, on_event: Any) -> None:
        done: Deferred[None] = Deferred()
        self.watches.append((query["resourceVersion"], on_event, done))
        await done


def page(version: str, **objects: str) -> bytes:
    items = ",".join(
        f'{{"metadata":{{"name":"{name}","resourceVersion":"{at}"}}}}' for name, at in objects.items()
    )
    return (
        f'{{"kind":"ConfigMapList","metadata":{{"resourceVersion":"{version}"}},"items":[{items}]}}'.encode()
    )


class ReflectorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.client = FakeClient()
        self.seen: list[tuple[str, bool]] = []
        self.reflector: Reflector[bytes] = Reflector(
            self.clock,
            self.client,
            CONFIGMAPS.path("default"),
            lambda raw: raw,
            lambda key, item: self.seen.append((key.name, item is not None)),
        )
        self.addCleanup(self.reflector.stopService)

    def event(self, kind: str, name: str, version: str) -> None:
        self.client.watches[-1][1](WatchEvent(kind, Item("", name, version, "", "", b"{}")))

    def test_it_goes_on_from_a_bookmark(self) -> None:
        self.client.lists = [page("5", a="3")]
        self.reflector.startService()
        self.event("BOOKMARK", "", "9")
        self.clock.advance(300)
        self.client.watches[0][2].callback(None)
        self.assertEqual([version for version, _, _ in self.client.watches], ["5", "9"])

    def test_what_went_while_nobody_looked(self) -> None:
        self.client.lists = [page("5", a="3", b="4"), page("9", b="4", c="8")]
        self.reflector.startService()
        self.seen.clear()
        self.clock.advance(60)
        self.client.watches[0][2].errback(APIError(410, "Expired", "too old"))
        self.assertEqual(self.seen, [("a", False), ("c", True)])
        self.assertEqual(set(self.reflector.objects), {Key("", "b"), Key("", "c")})
        self.assertEqual(self.client.watches[1][0], "9")

    def test_an_outage_keeps_what_is_known_and_backs_off(self) -> None:
        self.client.lists = [page("5", a="3")] * 7  # the list itself, then how far the history goes
        self.reflector.startService()
        for number in range(6):
            self.client.watches[-1][2].errback(Unavailable("no route"))
            self.assertEqual(len(self.client.watches), number + 1)
            self.clock.advance(30)
        self.assertEqual(set(self.reflector.objects), {Key("", "a")})
        self.assertEqual(self.client.lists, [])

    def test_a_cluster_that_was_restored_is_listed_again(self) -> None:
        """A watch from beyond the end of its history would tell nothing until it reaches the version."""
        self.client.lists = [page("900", a="3", b="4")]
        self.reflector.startService()
        self.seen.clear()
        self.client.lists = [page("5", a="3"), page("5", a="3")]
        self.client.watches[0][2].errback(Unavailable("the API server restarts"))
        self.clock.advance(1)
        # The object of the same version may be another than before.
        self.assertEqual(self.seen, [("b", False), ("a", True)])
        self.assertEqual(self.client.watches[1][0], "5")

    def test_an_answer_that_is_no_list_is_said_once(self) -> None:
        self.client.lists = [b"<html>Log in to the Wi-Fi</html>", b"", page("5")]
        events = logged(self)
        self.reflector.startService()
        self.clock.advance(1)
        self.assertIn("configmaps: ", self.reflector.problem)
        self.clock.advance(10)
        self.assertEqual(self.reflector.problem, "")
        self.assertEqual([event["log_level"].name for event in events], ["warn", "info"])

    def test_an_object_that_nests_without_end_is_in_nobodys_way(self) -> None:
        def deep(name: str) -> bytes:
            nested = b"[" * 1200 + b"]" * 1200
            return b'{"metadata":{"name":"%s","resourceVersion":"3"},"spec":%s}' % (name.encode(), nested)

        def read(raw: bytes) -> bytes:
            decode(dict, raw)
            return raw

        self.reflector._decode = read
        self.client.lists = [page("5", a="3").replace(b"[{", b"[%s,{" % deep("deep"))]
        self.reflector.startService()
        self.assertEqual(self.seen, [("a", True)])
        event = DeepJSONCodec().decode_event(b'{"type":"ADDED","object":%s}' % deep("late"))
        self.client.watches[0][1](event)
        self.event("ADDED", "b", "7")
        self.assertEqual(self.seen, [("a", True), ("b", True)])

    def test_a_server_that_ends_every_watch_is_not_hammered(self) -> None:
        self.client.lists = [page("5")]
        self.reflector.startService()
        self.client.watches[0][2].callback(None)
        self.assertEqual(len(self.client.watches), 1)
        self.clock.advance(1)
        self.assertEqual(len(self.client.watches), 2)

    def test_an_event_that_cannot_be_followed_harms_no_other(self) -> None:
        self.client.lists = [page("5")]

        def changed(key: Key, item: bytes | None) -> None:
            if key.name == "bad":
                raise ValueError("no")
            self.seen.append((key.name, True))

        self.reflector._changed = changed
        self.reflector.startService()
        self.event("ADDED", "bad", "6")
        self.event("ADDED", "good", "7")
        self.assertEqual(self.seen, [("good", True)])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
