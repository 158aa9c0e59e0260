"""What callers of each kind of listener rely on while their connection lasts."""

from __future__ import annotations

from typing import Any, cast

from prometheus_client import REGISTRY
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.python.failure import Failure

from superedge.config.listeners import ConnectListenerConfig, TLSListenerConfig
from superedge.tls.reload import FileWatcher
from superedge.tunnel.errors import DialError
from superedge.tunnel.listeners.base import Listener
from superedge.tunnel.listeners.connect import ConnectListener
from superedge.tunnel.listeners.connect_request import ESTABLISHED
from superedge.tunnel.listeners.tls import TLSListener
from superedge.tunnel.metrics import CALLERS_REFUSED
from tests.tunnel.listeners.case import ListenerCase
from tests.tunnel.listeners.test_sni import client_hello

CONNECT = b"CONNECT edge-1:10250 HTTP/1.1\r\nHost: x\r\n\r\n"
DEFAULT_IDLE = 14400
"""Seconds, of listeners of kinds tcp and tls."""


class ConnectTests(ListenerCase):
    """The contract of kube-apiserver's egress selector."""

    def make_listener(self) -> Listener:
        clock: Any = self.pair.clock
        config = ConnectListenerConfig(listen="unix:/run/x")
        return ConnectListener(clock, cast(Any, self), config, FileWatcher(clock))

    def test_it_says_nothing_before_the_target_is_connected_and_then_all_in_one_write(self) -> None:
        self.says(CONNECT + b"early")
        self.says(b" and more")
        self.assertEqual(self.caller.writes, [])
        self.connect()
        self.assertEqual(self.caller.writes, [ESTABLISHED])
        self.assertEqual(self.target.value(), b"early and more")

    def test_what_the_target_says_first_comes_behind_the_answer(self) -> None:
        self.says(CONNECT)
        self.connect()
        self.target.protocol.dataReceived(b"220 ready")
        self.pair.pump()
        self.assertEqual(self.caller.writes, [ESTABLISHED, b"220 ready"])

    def test_a_failure_is_one_write_that_is_flushed_before_the_end(self) -> None:
        self.says(CONNECT + b"early")
        self.handler.done.errback(DialError("refused", "nobody listens"))
        self.pair.pump()
        (answer,) = self.caller.writes
        self.assertTrue(answer.startswith(b"HTTP/1.1 502 refused: nobody listens\r\n"))
        self.assertEqual((self.caller.disconnecting, self.caller.aborted), (True, False))

    def test_it_is_never_cut_for_being_idle(self) -> None:
        self.says(CONNECT)
        self.connect()
        self.wait(2 * DEFAULT_IDLE)
        self.assertEqual(self.pair.dialer.stream_count, 1)
        self.target.protocol.dataReceived(b"still here")
        self.pair.pump()
        self.assertEqual(self.caller.writes, [ESTABLISHED, b"still here"])

    def test_a_caller_that_leaves_is_forgotten(self) -> None:
        leaves_nothing_behind(self, b"", CONNECT[:20], CONNECT, CONNECT + b"early")

    def test_a_caller_is_refused_once(self) -> None:
        before = refusals("connect")
        self.says(b"nonsense\r\n\r\n")
        self.wait(60)
        self.assertEqual((len(self.caller.writes), refusals("connect")), (1, before + 1))


class TlsTests(ListenerCase):
    """A caller whose own TLS goes through."""

    def make_listener(self) -> Listener:
        config = TLSListenerConfig(listen="127.0.0.1:0", target="127.0.0.1:1")
        return TLSListener(cast(Any, self.pair.clock), cast(Any, self), config)

    def test_a_caller_that_leaves_is_forgotten(self) -> None:
        hello = client_hello("edge-1")
        leaves_nothing_behind(self, b"", hello[:20], hello)

    def test_a_caller_is_refused_once(self) -> None:
        before = refusals("tls")
        self.says(b"nonsense")
        self.caller.protocol.connectionLost(Failure(ConnectionAborted()))
        self.wait(60)
        self.assertEqual((self.caller.aborted, refusals("tls")), (True, before + 1))
        self.assertEqual(self.caller.writes, [], "in what language?")

    def test_a_caller_that_says_nothing_is_refused(self) -> None:
        before = refusals("tls")
        self.wait(60)
        self.assertEqual((self.caller.aborted, refusals("tls")), (True, before + 1))


def refusals(kind: str) -> float:
    """Callers that listeners of a kind have refused, whatever for."""
    (family,) = CALLERS_REFUSED.collect()
    return sum(
        sample.value
        for sample in family.samples
        if sample.name.endswith("_total") and sample.labels["kind"] == kind
    )


def leaves_nothing_behind(case: ListenerCase, *said: bytes) -> None:
    """A caller that leaves after it said so much is not counted as refused, and what it began is given up."""
    for data in said:
        case.setUp()
        before = refusals(case.listener.kind)
        if data:
            case.says(data)
        case.caller.protocol.connectionLost(Failure(ConnectionDone()))
        case.pair.pump()
        case.assertEqual(case.pair.dialer.stream_count, 0)
        case.wait(60)
        case.assertEqual(refusals(case.listener.kind), before)
        case.assertEqual((case.caller.writes, case.caller.aborted), ([], False))


class IdleCase(ListenerCase):
    hello = b"hello"

    def cut_off(self) -> float:
        labels = {"kind": self.listener.kind, "reason": "idle"}
        return REGISTRY.get_sample_value("superedge_tunnel_callers_refused_total", labels) or 0.0

    def is_cut_after(self, seconds: int) -> None:
        """Both ends are reset, and it is counted, once nothing moved for so long."""
        before = self.cut_off()
        self.says(self.hello)
        self.connect()
        self.assertEqual(self.target.value(), self.hello)
        self.wait(seconds - 20)
        self.says(b"x")
        self.wait(seconds - 20)
        self.assertEqual((self.pair.dialer.stream_count, self.cut_off()), (1, before))
        self.wait(seconds)
        self.assertEqual((self.pair.dialer.stream_count, self.cut_off()), (0, before + 1))
        self.assertEqual((self.caller.aborted, self.target.aborted), (True, True))


class TcpIdleTests(IdleCase):
    options = {"idle_timeout": 400.0}

    def test_it_is_cut(self) -> None:
        self.is_cut_after(400)


class TlsIdleTests(IdleCase):
    hello = client_hello("edge-1")

    def make_listener(self) -> Listener:
        config = TLSListenerConfig(listen="127.0.0.1:0", target="127.0.0.1:1")
        return TLSListener(cast(Any, self.pair.clock), cast(Any, self), config)

    def test_it_is_cut_by_default(self) -> None:
        self.is_cut_after(DEFAULT_IDLE)


class TcpForeverTests(IdleCase):
    options = {"idle_timeout": 0.0}

    def test_it_is_cut_never(self) -> None:
        self.says(b"x")
        self.connect()
        self.wait(2 * DEFAULT_IDLE)
        self.assertEqual(self.pair.dialer.stream_count, 1)
