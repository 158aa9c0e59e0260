"""What a client of the Kubernetes API does, for each client and each server that the product has."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import msgspec
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from superedge.interfaces import IReactor
from superedge.kube.client import CONFIGMAPS, MERGE_PATCH, IKubeClient, Resource
from superedge.kube.errors import APIError, DecodeError
from superedge.kube.json import decode
from superedge.kube.objects import WatchEvent
from superedge.kube.reflector import Key, Reflector

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase as Base
else:
    Base = object

NAMESPACES = Resource("", "v1", "namespaces")
_numbers = itertools.count(1)


class ConfigMap(msgspec.Struct):
    """As much of one as the tests look at."""

    data: dict[str, str] = {}


class ClientContract(Base):
    """A module makes a class of it and trial's ``TestCase`` that gives ``client`` in ``begin``."""

    timeout = 60
    reactor = cast(IReactor, _reactor)
    client: IKubeClient

    async def begin(self) -> None:
        raise NotImplementedError

    async def compact(self) -> None:
        raise NotImplementedError

    async def setUp(self) -> None:  # type: ignore[override]
        await self.begin()
        self.namespace = f"client-{os.getpid()}-{next(_numbers)}"
        await self.client.call("POST", NAMESPACES.path(), body={"metadata": {"name": self.namespace}})
        self.path = CONFIGMAPS.path(self.namespace)
        self.seen: list[tuple[str, ConfigMap | None]] = []
        self.services: list[Any] = []

    async def tearDown(self) -> None:  # type: ignore[override]
        for service in self.services:
            service.stopService()
        await self.client.call("DELETE", NAMESPACES.path(name=self.namespace))
        await self.finish()
        await deferLater(self.reactor, 0.01)

    async def finish(self) -> None:
        """Release what ``begin`` took."""

    async def create(self, name: str, labels: dict[str, str] | None = None, **data: str) -> dict[str, Any]:
        item = {"metadata": {"name": name, "labels": labels or {"app": "x"}}, "data": data}
        return cast(
            "dict[str, Any]", msgspec.json.decode(await self.client.call("POST", self.path, body=item))
        )

    async def until(self, condition: Callable[[], Any]) -> None:
        while not condition():
            await deferLater(self.reactor, 0.01)

    def follow(self, selector: str = "app=x", take: Callable[[bytes], ConfigMap] | None = None) -> Any:
        reflector: Reflector[ConfigMap] = Reflector(
            self.reactor,
            self.client,
            self.path,
            take or (lambda raw: cast(ConfigMap, decode(ConfigMap, raw))),
            lambda key, item: self.seen.append((key.name, item)),
            selector,
        )
        self.services.append(reflector)
        reflector.startService()
        return reflector

    async def fails(self, call: Any, code: int, reason: str) -> None:
        failed = await self.assertFailure(Deferred.fromCoroutine(call), APIError)
        self.assertEqual((failed.code, failed.reason), (code, reason))

    async def test_write_and_read(self) -> None:
        made = await self.create("one", a="1")
        path = CONFIGMAPS.path(self.namespace, "one")
        await self.client.call("PUT", path, body={**made, "data": {"a": "2"}})
        await self.client.call("PATCH", path, body={"data": {"b": "3"}}, content_type=MERGE_PATCH)
        self.assertEqual(decode(ConfigMap, await self.client.call("GET", path)).data, {"a": "2", "b": "3"})
        await self.client.call("DELETE", path)
        await self.fails(self.client.call("GET", path), 404, "NotFound")

    async def test_a_write_on_an_old_version_is_refused(self) -> None:
        made = await self.create("one", a="1")
        path = CONFIGMAPS.path(self.namespace, "one")
        await self.client.call("PATCH", path, body={"data": {"a": "2"}}, content_type=MERGE_PATCH)
        await self.fails(self.client.call("PUT", path, body={**made, "data": {"a": "3"}}), 409, "Conflict")
        old = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}, "data": {"a": "4"}}
        await self.fails(self.client.call("PATCH", path, body=old, content_type=MERGE_PATCH), 409, "Conflict")
        condition = {"preconditions": {"resourceVersion": made["metadata"]["resourceVersion"]}}
        await self.fails(self.client.call("DELETE", path, body=condition), 409, "Conflict")
        again = {"metadata": {"name": "one"}}
        await self.fails(self.client.call("POST", self.path, body=again), 409, "AlreadyExists")

    async def test_watch_ends_in_order(self) -> None:
        made = await self.create("one")
        events: list[WatchEvent] = []
        query = {"resourceVersion": made["metadata"]["resourceVersion"], "labelSelector": "app=x"}
        watching = Deferred.fromCoroutine(self.client.watch(self.path, query, 1, events.append))
        await self.create("two")
        await watching
        self.assertEqual([(event.type, event.item.name) for event in events], [("ADDED", "two")])

    async def test_watch_from_a_forgotten_version(self) -> None:
        made = await self.create("one")
        await self.create("two")
        await self.compact()
        query = {"resourceVersion": made["metadata"]["resourceVersion"]}
        await self.fails(self.client.watch(self.path, query, 2, lambda event: None), 410, "Expired")

    async def test_reflector(self) -> None:
        await self.create("one", a="1")
        await self.create("other", {"app": "y"})
        reflector = self.follow()
        await reflector.when_synced()
        self.assertEqual(set(reflector.objects), {Key(self.namespace, "one")})
        await self.create("two")
        path = CONFIGMAPS.path(self.namespace, "one")
        await self.client.call("PATCH", path, body={"data": {"a": "2"}}, content_type=MERGE_PATCH)
        await self.client.call("DELETE", CONFIGMAPS.path(self.namespace, "two"))
        leaving = {"metadata": {"labels": {"app": "y"}}}
        await self.client.call("PATCH", path, body=leaving, content_type=MERGE_PATCH)
        await self.until(lambda: len(self.seen) == 5)
        self.assertEqual([name for name, _ in self.seen], ["one", "two", "one", "two", "one"])
        self.assertEqual(
            [item and item.data for _, item in self.seen], [{"a": "1"}, {}, {"a": "2"}, None, None]
        )
        self.assertEqual(reflector.objects, {})

    async def test_reflector_skips_what_it_cannot_read(self) -> None:
        def take(raw: bytes) -> ConfigMap:
            if b"poison" in raw:
                raise DecodeError("poison")
            return cast(ConfigMap, decode(ConfigMap, raw))

        reflector = self.follow(take=take)
        await reflector.when_synced()
        await self.create("one", a="poison")
        await self.create("two")
        await self.until(lambda: self.seen)
        self.assertEqual([name for name, _ in self.seen], ["two"])
        path = CONFIGMAPS.path(self.namespace, "one")
        await self.client.call("PATCH", path, body={"data": {"a": "2"}}, content_type=MERGE_PATCH)
        await self.until(lambda: len(self.seen) == 2)
        self.assertEqual(self.seen[1][0], "one")
