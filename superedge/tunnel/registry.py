"""Which session serves which node: the newest, by epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from superedge.mux.protocol import MuxConnection
    from superedge.tunnel.messages import Hello


@dataclass(slots=True, eq=False)
class NodeSession:
    """One node's session as the cloud holds it."""

    node: str
    epoch: int
    mux: MuxConnection
    peer: str
    hello: Hello | None = field(default=None)


class NodeTable:
    """The sessions of this process. Names are lower case, as node names are."""

    def __init__(self) -> None:
        self._newest: dict[str, NodeSession] = {}
        self._epochs = count(1)

    def next_epoch(self) -> int:
        """A number higher than any before."""
        return next(self._epochs)

    def add(self, session: NodeSession) -> NodeSession | None:
        """Make the session its node's, if it is newer than the one there; the session it replaces."""
        before = self._newest.get(session.node)
        if before is not None and before.epoch > session.epoch:
            return session
        self._newest[session.node] = session
        return before

    def remove(self, session: NodeSession) -> None:
        """Forget the session; a newer one of the same node stays."""
        if self._newest.get(session.node) is session:
            del self._newest[session.node]

    def get(self, node: str) -> NodeSession | None:
        """The node's session."""
        return self._newest.get(node)

    def __iter__(self) -> Iterator[NodeSession]:
        return iter(list(self._newest.values()))

    def __len__(self) -> int:
        return len(self._newest)
