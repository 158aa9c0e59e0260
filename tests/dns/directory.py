"""A directory that says what a test puts into it."""

from __future__ import annotations

from collections.abc import Callable, Sequence


class StaticDirectory:
    def __init__(self, addresses: Sequence[str], *nodes: str) -> None:
        self.connected: dict[str, Sequence[str]] = dict.fromkeys(nodes, addresses)
        self.known: dict[str, Sequence[str]] = {}

        self._callbacks: list[Callable[[], None]] = []

    def on_change(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    def changed(self) -> None:
        for callback in self._callbacks:
            callback()

    def serving(self, node: str) -> Sequence[str]:
        return self.connected.get(node, ())

    def own(self, node: str) -> Sequence[str] | None:
        return self.known.get(node)

    def names_at(self, address: str) -> Sequence[str]:
        return sorted(node for node, addresses in self.connected.items() if address in addresses)
