"""A producer for what transports do to theirs."""

from __future__ import annotations


class Producer:
    """Notes whether it may bring more, and in ``calls`` all that it was told."""

    def __init__(self) -> None:
        self.paused = False
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.paused = True
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.paused = False
        self.calls.append("resume")

    def stopProducing(self) -> None:
        self.paused = True
        self.calls.append("stop")
