"""The sessions of nodes. The session with the highest epoch serves its node."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import time
from typing import Any

from superedge.mux.protocol import MuxConnection
from superedge.net.sockets import address_text
from superedge.tunnel.epochs import EpochClock
from superedge.tunnel.messages import Hello, Notice, encode


@dataclass(slots=True, eq=False)
class NodeSession:
    """A node's session at the cloud end: one or more connections of the same edge process."""

    node: str
    epoch: int
    hello: Hello
    connections: list[MuxConnection]
    since: float = 0.0
    """Seconds since 1970."""
    controls: dict[MuxConnection, Any] = field(default_factory=dict)
    """The control stream of each connection."""

    def notify(self, notice: Notice) -> None:
        """Send a notice on every connection."""
        for control in self.controls.values():
            control.write(encode(notice))

    @property
    def peer(self) -> str:
        """The address that the session comes from."""
        return address_text(self.connections[0].peer) if self.connections else ""

    def least_loaded(self) -> MuxConnection:
        """The connection for a new stream."""
        if len(self.connections) == 1:
            return self.connections[0]
        return min(self.connections, key=lambda connection: (connection.exhausted, connection.load))

    @property
    def busy(self) -> bool:
        """Whether streams other than the control streams are open."""
        return any(connection.stream_count > 1 for connection in self.connections)

    def go_away(self) -> None:
        """Ask the edge to connect elsewhere; open streams finish."""
        for connection in self.connections:
            connection.go_away()

    def close(self, reason: str) -> None:
        """End every connection."""
        for connection in list(self.connections):
            connection.close(reason)


Subscriber = Callable[[str, "NodeSession | None"], None]
"""Called with a node's name and its session; None when the node has disconnected."""


class NodeTable:
    """The sessions of this process, by node name."""

    def __init__(self, wall: Callable[[], float] = time) -> None:
        """``wall`` gives seconds since 1970."""
        self._newest: dict[str, NodeSession] = {}
        self._wall = wall
        self._subscribers: list[Subscriber] = []
        self.epochs = EpochClock()

    def now(self) -> float:
        """Seconds since 1970."""
        return self._wall()

    def next_epoch(self) -> int:
        """An epoch higher than any given here or observed from another replica."""
        return self.epochs.next(self._wall())

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call ``subscriber`` for each connected node now, and at each change."""
        self._subscribers.append(subscriber)
        for session in self:
            subscriber(session.node, session)

    def _notify(self, node: str, session: NodeSession | None) -> None:
        for subscriber in self._subscribers:
            subscriber(node, session)

    def add(self, session: NodeSession) -> NodeSession | None:
        """Make the session its node's current one if it is the newest.

        Return the session to close, if any.
        """
        before = self._newest.get(session.node)
        if before is not None and before.epoch > session.epoch:
            return session
        self._newest[session.node] = session
        self._notify(session.node, session)
        return before

    def remove(self, session: NodeSession) -> None:
        """Forget the session; a newer one of the same node stays."""
        if self._newest.get(session.node) is session:
            del self._newest[session.node]
            self._notify(session.node, None)

    def get(self, node: str) -> NodeSession | None:
        """The node's session."""
        return self._newest.get(node)

    def __iter__(self) -> Iterator[NodeSession]:
        return iter(list(self._newest.values()))

    def __len__(self) -> int:
        return len(self._newest)
