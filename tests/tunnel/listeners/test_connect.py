"""Who may reach what through a connect listener, and what a node dials when it is meant itself."""

from __future__ import annotations

from typing import Any, cast
from unittest.mock import Mock

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from superedge.config.listeners import ConnectListenerConfig
from superedge.kube.nodes import Node, NodeIndex, Ranges
from superedge.mux.stream import MuxStream
from superedge.net.errors import ConnectError
from superedge.tls.reload import FileWatcher
from superedge.tunnel.directory import NodeDirectory
from superedge.tunnel.errors import DialError
from superedge.tunnel.listeners.base import Listener
from superedge.tunnel.listeners.connect import ConnectListener
from superedge.tunnel.messages import Hello
from superedge.tunnel.nodetable import NodeSession, NodeTable
from tests.tunnel.listeners.case import ListenerCase, Socket

CONNECT = b"CONNECT edge-1:10250 HTTP/1.1\r\n\r\n"


class ConnectCase(ListenerCase):
    """``config`` is the listener's; ``directory`` knows what a test puts there."""

    config: dict[str, Any] = {}

    def make_listener(self) -> Listener:
        self.table = NodeTable()
        self.index = NodeIndex(Ranges())
        self.directory = NodeDirectory([], self.table, None, self.index)
        self.denied = Mock()
        config = ConnectListenerConfig(listen="unix:/run/x.sock", **self.config)
        clock = cast(Any, self.pair.clock)
        return ConnectListener(
            clock, cast(Any, self), config, FileWatcher(clock), self.directory, cast(Any, self.denied)
        )

    def setUp(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.answers: dict[str, str] = {}
        super().setUp()

    def call(self, target: str, name: str | None = None, peer: str = "192.0.2.1") -> bytes:
        """What a new caller is answered at once."""
        caller = self.caller = Socket()
        caller.peer_common_name = name
        caller.peerAddr = IPv4Address("TCP", peer, 5)
        caller.protocol = self.listener.make_protocol()
        caller.protocol.makeConnection(caller)
        self.addCleanup(lambda: caller.protocol.connectionLost(Failure(ConnectError("the test is over"))))
        self.says(f"CONNECT {target} HTTP/1.1\r\n\r\n".encode())
        return bytes(caller.value()).split(b"\r\n")[0]

    async def open(self, node: str, address: str, *, caller: str = "", **more: Any) -> MuxStream:
        self.asked.append((address, caller))
        host = address.rpartition(":")[0]
        if host in self.answers:
            raise DialError(cast(Any, self.answers[host]), "said by the test")
        return await super().open(node, address, caller=caller, **more)


class AccessTests(ConnectCase):
    def make_listener(self) -> Listener:
        listener = super().make_listener()
        rules = ["kube-apiserver *:10250", "prom* edge-?:9100", "a b *:*"]
        cast(Any, listener)._access = cast(Any, _with_access(rules))._access
        return listener

    def test_rules(self) -> None:
        for name, target, allowed in (
            ("kube-apiserver", "edge-1:10250", True),
            ("kube-apiserver", "edge-1:22", False),
            ("prometheus", "EDGE-1:9100", True),
            ("prometheus", "edge-1:10250", False),
            ("a b", "edge-1:1", True),
            ("b", "edge-1:1", False),
            ("Kube-apiserver", "edge-1:10250", False),
            (None, "edge-1:10250", False),
        ):
            self.asked.clear()
            answer = self.call(target, name)
            self.assertEqual(len(self.asked), allowed, (name, target))
            self.assertEqual(b" 403 access: " in answer, not allowed)

    def test_no_rule(self) -> None:
        for text in ("x", "x y", "x y:", "x y:0", "x y:99999", "x :1", " y:1", "x y:10-20"):
            self.assertRaises(ValueError, _with_access, [text])
        self.assertRaises(ValueError, ConnectListenerConfig, listen="unix:/x", access=["x y:1"])


def _with_access(rules: list[str]) -> Any:
    """The rules of a listener that has them; the certificates are not looked at."""
    pair = {"certificate": None, "key": None, "client_ca": ["ca.crt"]}
    config = ConnectListenerConfig(listen="unix:/x", access=rules, **cast(Any, pair))
    return ConnectListener(cast(Any, None), cast(Any, None), config, cast(Any, None))


class DeniedTests(ConnectCase):
    def test_a_denied_certificate(self) -> None:
        self.denied.admit.return_value = False
        self.assertIn(b" 403 denied: ", self.call("edge-1:10250", "kube-apiserver"))
        self.assertEqual(self.asked, [])


class HostTests(ConnectCase):
    """Kubelets that listen on loopback, and some that do not."""

    config = {"node_host": ["127.0.0.1", "{internal_ip}"]}

    def hello(self, *addresses: str) -> None:
        self.table.add(NodeSession("edge-1", 1, Hello("1", addresses=list(addresses)), []))

    def test_in_turn_and_the_one_that_answered_first_the_next_time(self) -> None:
        self.hello("no address", "x]:1", "192.0.2.7", "192.0.2.8")
        self.answers = {"127.0.0.1": "refused", "192.0.2.7": "denied"}
        self.call("edge-1:10250")
        self.assertEqual(
            [host for host, _ in self.asked], [f"{h}:10250" for h in ("127.0.0.1", "192.0.2.7", "192.0.2.8")]
        )
        self.connect()
        self.assertTrue(self.caller.value().startswith(b"HTTP/1.1 200 "))
        self.asked.clear()
        self.handler.done = Deferred()
        self.call("edge-1:10255")
        self.assertEqual([host for host, _ in self.asked], ["192.0.2.8:10255"])

    def test_what_another_host_cures_not_is_told_at_once(self) -> None:
        self.hello("192.0.2.7")
        for code in ("timeout", "limit", "not-connected"):
            self.asked.clear()
            self.answers = {"127.0.0.1": code}
            self.assertIn(code.encode(), self.call("edge-1:10250"))
            self.assertEqual(len(self.asked), 1)

    def test_all_refuse(self) -> None:
        self.hello("192.0.2.7")
        self.answers = {"127.0.0.1": "refused", "192.0.2.7": "denied"}
        self.assertIn(b" 403 denied", self.call("edge-1:10250"))

    def test_the_node_object_says_it_better_than_the_session(self) -> None:
        self.hello("192.0.2.7")
        self.index.put(Node("edge-1", ("2001:db8::9",), ()))
        self.answers = {"127.0.0.1": "refused"}
        self.call("edge-1:10250")
        self.assertEqual([host for host, _ in self.asked], ["127.0.0.1:10250", "[2001:db8::9]:10250"])

    def test_no_host(self) -> None:
        for hosts in ("", [], ["127.0.0.1", ""]):
            self.assertRaises(ValueError, ConnectListenerConfig, listen="unix:/x", node_host=hosts)


class LeavingTests(ConnectCase):
    """A caller that ends before the answer."""

    def test_its_end_gives_the_dial_up(self) -> None:
        self.call("edge-1:10250")
        self.assertEqual(self.pair.acceptor.stream_count, 1)
        self.assertEqual(self.caller.producerState, "producing", "its end can be seen")
        self.caller.protocol.readConnectionLost()
        self.assertTrue(self.caller.aborted)
        self.caller.protocol.connectionLost(Failure(ConnectError("aborted")))
        self.pair.pump()
        self.assertEqual((self.pair.dialer.stream_count, self.pair.acceptor.stream_count), (0, 0))

    def test_unless_it_has_said_what_it_wanted(self) -> None:
        self.call("edge-1:10250")
        self.says(b"all")
        self.caller.protocol.readConnectionLost()
        self.connect()
        self.assertEqual(
            (self.caller.aborted, self.target.value(), self.target.finished), (False, b"all", True)
        )

    def test_a_refusal_is_not_cut(self) -> None:
        self.call("edge-1:10250")
        self.handler.done.errback(DialError("refused", "nobody listens"))
        self.pair.pump()
        self.caller.protocol.readConnectionLost()
        self.assertIn(b" 502 refused", self.caller.value())
        self.assertFalse(self.caller.aborted)

    def test_who_asks(self) -> None:
        self.call("edge-1:10250", "kube-apiserver")
        self.call("edge-1:10250", peer="192.0.2.44")
        self.assertEqual([caller for _, caller in self.asked], ["kube-apiserver", "192.0.2.44"])


class WaitingTests(ConnectCase):
    """Another replica is dialled: there is no stream yet."""

    def setUp(self) -> None:
        self.opening = Deferred()
        super().setUp()

    def test_its_end_gives_the_wait_up(self) -> None:
        self.call("edge-1:10250")
        self.assertEqual(self.caller.producerState, "producing")
        self.caller.protocol.readConnectionLost()
        self.caller.protocol.connectionLost(Failure(ConnectError("aborted")))
        assert self.opening is not None
        self.assertTrue(self.opening.called, "cancelled")

    def test_what_it_says_is_kept_and_bounded(self) -> None:
        self.call("edge-1:10250")
        self.says(b"x" * 65536)
        self.assertEqual(self.caller.producerState, "producing")
        self.says(b"y")
        self.assertEqual(self.caller.producerState, "paused")
        assert self.opening is not None
        self.opening.callback(None)
        self.pair.pump()
        self.connect()
        self.assertEqual(self.target.value(), b"x" * 65536 + b"y")
        self.assertEqual(self.caller.producerState, "producing")
