"""Events about objects, as `kubectl describe` shows them. Source: Kubernetes API, Event v1 core."""

from __future__ import annotations

from collections.abc import Callable
from time import time
from typing import Literal, NamedTuple
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from superedge.kube.client import IKubeClient, Problems, Resource
from superedge.kube.times import kube_time
from superedge.reactor.task import in_background

EVENTS = Resource("", "v1", "events")
AT_ONCE = 64
"""Events under way; more are logged and dropped."""

_log = Logger()


class Reference(NamedTuple):
    """What an Event is about; ``namespace`` is empty for an object of the cluster."""

    api_version: str
    kind: str
    name: str
    uid: str = ""
    namespace: str = ""


class EventRecorder:
    """Writes Events without anybody waiting; one that cannot be written is logged."""

    def __init__(
        self, client: IKubeClient, component: str, instance: str, wall: Callable[[], float] = time
    ) -> None:
        self._client = client
        self._component = component
        self._instance = instance
        self._wall = wall
        self._under_way: set[Deferred[None]] = set()

    def record(self, about: Reference, kind: Literal["Normal", "Warning"], reason: str, note: str) -> None:
        """``reason`` is one word in CamelCase, ``note`` a sentence."""
        if len(self._under_way) >= AT_ONCE:
            _log.warn(
                "event {reason} of {name} was dropped: {note}", reason=reason, name=about.name, note=note
            )
            return
        done = in_background(self._write(about, kind, reason, note), _log, "an event failed")
        self._under_way.add(done)
        done.addCallback(lambda _: self._under_way.discard(done))

    async def _write(self, about: Reference, kind: str, reason: str, note: str) -> None:
        now = kube_time(self._wall())
        namespace = about.namespace or "default"
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{about.name}.{uuid4().hex[:16]}", "namespace": namespace},
            "involvedObject": {
                "apiVersion": about.api_version,
                "kind": about.kind,
                "name": about.name,
                # kubectl describe finds a node's events by its name in this field.
                "uid": about.uid or about.name,
                **({"namespace": about.namespace} if about.namespace else {}),
            },
            "type": kind,
            "reason": reason,
            "message": note[:1024],
            "source": {"component": self._component, "host": self._instance},
            "reportingComponent": self._component,
            "reportingInstance": self._instance,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            await self._client.call("POST", EVENTS.path(namespace), body=body)
        except Problems as problem:
            _log.warn("event {reason} of {name}: {problem}", reason=reason, name=about.name, problem=problem)
