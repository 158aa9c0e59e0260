"""Prometheus metrics of both tunnel ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import Counter, Gauge, Histogram
from twisted.internet.interfaces import IReactorTime

from superedge.metrics import FastHistogram
from superedge.mux.protocol import MuxConnection
from superedge.mux.state import Stats
from superedge.reactor.periodic import PeriodicCall

SESSIONS = Gauge("superedge_tunnel_sessions", "Tunnel sessions that are up", ["end"])
SESSIONS_STARTED = Counter("superedge_tunnel_sessions_started", "Tunnel sessions that came up", ["end"])
CONNECTIONS = Gauge("superedge_tunnel_connections", "Connections of all sessions", ["end"])
RECONNECTS = Counter(
    "superedge_tunnel_reconnects",
    "Sessions after an earlier one: edge, of this process; cloud, that replaced one still there",
    ["end"],
)
SESSIONS_REFUSED = Counter(
    "superedge_tunnel_sessions_refused", "Connections that did not become a session", ["end"]
)
STREAMS_OPEN = Gauge("superedge_tunnel_streams_open", "Streams open now", ["end"])
STREAMS = Counter("superedge_tunnel_streams", "Streams opened or accepted", ["end"])
BYTES = Counter("superedge_tunnel_bytes", "Bytes of all sessions", ["end", "direction"])
WINDOW_STALLS = Counter("superedge_tunnel_window_stalls", "Times a sender had to wait for credit", ["end"])
RESETS = Counter("superedge_tunnel_stream_resets", "Streams reset, by who did it", ["end", "reason"])
RTT = Histogram(
    "superedge_tunnel_rtt_seconds",
    "Round trips of keepalive pings",
    ["end"],
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0),
)
DIAL_SECONDS = FastHistogram(
    "superedge_tunnel_dial_seconds",
    "From asking for a stream to the target's answer",
    ["end"],
    (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
)
DIAL_FAILURES = Counter("superedge_tunnel_dial_failures", "Streams that reached no target", ["end", "code"])
CALLERS_REFUSED = Counter(
    "superedge_tunnel_callers_refused", "Callers a listener turned away", ["kind", "reason"]
)
CLAIMS_REFUSED = Counter(
    "superedge_tunnel_claims_refused",
    "Addresses that Node objects claim and do not get: outside the ranges, reserved, or held by another node",
    ["reason"],
)
HTTP_RESPONSES = Counter(
    "superedge_tunnel_http_responses", "Responses of http and https listeners", ["kind", "status"]
)
FORWARDED = Counter(
    "superedge_tunnel_forwarded",
    "Requests that took a hop between replicas, by direction and outcome: opened, or why not",
    ["direction", "outcome"],
)
REPLICAS = Gauge("superedge_tunnel_replicas", "Replicas whose Lease has not expired, this one included")
REMOTE_NODES = Gauge("superedge_tunnel_remote_nodes", "Nodes that other replicas have published")
REGISTRY_WRITES = Counter(
    "superedge_tunnel_registry_writes", "Writes of this replica's nodes to the API server", ["outcome"]
)


METER_INTERVAL = 5.0
"""Seconds between two checks of a `SessionMeter`."""


class SessionMeter:
    """Adds the counters of open connections to the metrics at intervals; gauges are computed at each
    scrape."""

    def __init__(
        self,
        reactor: IReactorTime,
        end: str,
        connections: Callable[[], Iterable[MuxConnection]],
        sessions: Callable[[], int] | None = None,
    ) -> None:
        """``sessions`` counts the sessions; without it, each connection is a session."""
        self._periodic = PeriodicCall(reactor, METER_INTERVAL, self.collect)
        self._end = end
        self._connections = connections
        self._seen: dict[MuxConnection, Stats] = {}
        CONNECTIONS.labels(end).set_function(lambda: len(list(connections())))
        SESSIONS.labels(end).set_function(sessions or (lambda: len(list(connections()))))
        STREAMS_OPEN.labels(end).set_function(lambda: sum(each.stream_count for each in connections()))

    def start(self) -> None:
        self._periodic.start(now=True)

    def stop(self) -> None:
        self._periodic.stop()

    def collect(self) -> None:
        """Account for every open connection."""
        for connection in list(self._connections()):
            self.account(connection)
            if connection.rtt is not None:
                RTT.labels(self._end).observe(connection.rtt)

    def account(self, connection: MuxConnection, ended: bool = False) -> None:
        """Add what one connection counted since the last call; ``ended`` with the last call."""
        now, end = connection.stats, self._end
        before = self._seen.get(connection, Stats())
        BYTES.labels(end, "in").inc(now.bytes_in - before.bytes_in)
        BYTES.labels(end, "out").inc(now.bytes_out - before.bytes_out)
        opened = now.streams_opened + now.streams_accepted
        STREAMS.labels(end).inc(opened - before.streams_opened - before.streams_accepted)
        WINDOW_STALLS.labels(end).inc(now.window_stalls - before.window_stalls)
        for reason, count in now.resets.items():
            RESETS.labels(end, reason).inc(count - before.resets.get(reason, 0))
        if ended:
            self._seen.pop(connection, None)
        else:
            self._seen[connection] = Stats(
                bytes_in=now.bytes_in,
                bytes_out=now.bytes_out,
                streams_opened=now.streams_opened,
                streams_accepted=now.streams_accepted,
                window_stalls=now.window_stalls,
                resets=dict(now.resets),
            )
