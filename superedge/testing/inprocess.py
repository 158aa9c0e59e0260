"""A client with an API server in the same process, on any clock, for simulations and fast tests.

It passes the same contract tests as the real client, and has the rules of the embedded server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from superedge.kube.errors import APIError, Unavailable
from superedge.kube.objects import Item, WatchEvent
from superedge.kube.request import RequestInfo, parse_request
from superedge.testing import status as errors
from superedge.testing.operations import Operations, WriteOptions, collection_of
from superedge.testing.resources import Registry, Resource
from superedge.testing.selectors import Predicate, both, field_selector, label_selector
from superedge.testing.storage import Compacted, Event, Key, Store, Stored


class InProcessAPI:
    """The server. Each request, and the delivery of each watch event, takes ``latency`` seconds."""

    def __init__(self, reactor: IReactorTime, latency: float = 0.0) -> None:
        self.reactor = reactor
        self.latency = latency
        self.store = Store()
        self.registry = Registry()
        self.operations = Operations(self.store, self.registry)
        self.writes: dict[str, int] = {}
        """Number of writes by the resource's plural name."""
        self.refused: tuple[str, ...] = ()
        """Parts of the paths that no client has a right to."""
        self._available = True
        self._watches: set[Deferred[None]] = set()

    @property
    def available(self) -> bool:
        """Whether the server responds. Set it to False to fail all requests and watches."""
        return self._available

    @available.setter
    def available(self, value: bool) -> None:
        self._available = value
        if not value:
            watches, self._watches = self._watches, set()
            for done in watches:
                done.errback(Failure(Unavailable("the API server is away")))

    def check(self, path: str) -> None:
        """Raise Unavailable while the server is away, and APIError for a path that is refused."""
        if not self._available:
            raise Unavailable("the API server is away")
        if any(part in path for part in self.refused):
            raise APIError(403, "Forbidden", f"{path} is forbidden")

    def client(self) -> InProcessClient:
        """A new client."""
        return InProcessClient(self)


class InProcessClient:
    """`superedge.kube.client.IKubeClient` on an `InProcessAPI`. Lists have one page."""

    def __init__(self, api: InProcessAPI) -> None:
        self._api = api

    async def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
    ) -> bytes:
        """See `IKubeClient`."""
        await deferLater(self._api.reactor, self._api.latency)
        self._api.check(path)
        info = parse_request(method.encode(), path.encode(), b"")
        # Copy the body, as sending it would.
        item = None if body is None else msgspec.json.decode(msgspec.json.encode(body))
        try:
            answer = self._answer(info, dict(query or {}), item, content_type)
        except errors.APIError as problem:
            raise APIError(problem.code, problem.reason, problem.message) from problem
        await deferLater(self._api.reactor, self._api.latency)
        return answer

    def _answer(self, info: RequestInfo, query: dict[str, str], item: object, content_type: str) -> bytes:
        api, resource = self._api, self._resource(info)
        key = Key(info.namespace if resource.namespaced else "", info.name)
        options = WriteOptions(
            api.reactor.seconds(),
            query.get("fieldManager", "superedge"),
            query.get("dryRun") == "All",
            query.get("force") == "true",
        )
        if info.verb == "get":
            return api.operations.read(resource, key).json
        if info.verb == "list":
            return self._list(resource, info.namespace, _selected(resource, query))
        api.writes[resource.plural] = api.writes.get(resource.plural, 0) + 1
        if info.verb == "create":
            made = api.operations.create(resource, info.namespace, item, options)
        elif info.verb == "update":
            made = api.operations.update(resource, key, item, options, info.subresource)
        elif info.verb == "patch":
            made = api.operations.patch(resource, key, content_type, item, options, info.subresource)[0]
        else:
            made = api.operations.delete(resource, key, item, options.now)[0]
        return msgspec.json.encode(made)

    def _resource(self, info: RequestInfo) -> Resource:
        resource = self._api.registry.find(info.group, info.version, info.resource)
        if resource is None:
            raise errors.not_found(info.group, info.resource, info.name)
        return resource

    def _list(self, resource: Resource, namespace: str, selected: Predicate | None) -> bytes:
        store = self._api.store
        items = [
            stored.json
            for stored in store.snapshot(collection_of(resource), namespace)
            if selected is None or selected(stored.object)
        ]
        head = {
            "kind": resource.list_kind,
            "apiVersion": resource.api_version,
            "metadata": {"resourceVersion": str(store.revision)},
            "items": [msgspec.Raw(item) for item in items],
        }
        return msgspec.json.encode(head)

    async def watch(
        self, path: str, query: Mapping[str, str], seconds: int, on_event: Callable[[WatchEvent], None]
    ) -> None:
        """See `IKubeClient`. It sends no bookmarks."""
        api = self._api
        info = parse_request(b"GET", path.encode(), b"")
        resource = self._resource(info)
        selected = _selected(resource, query)
        api.check(path)
        done: Deferred[None] = Deferred()

        def deliver(event: WatchEvent) -> None:
            if not done.called:
                on_event(event)

        def changed(event: Event) -> None:
            if info.namespace and event.stored.key.namespace != info.namespace:
                return
            was = event.previous is not None and (selected is None or selected(event.previous.object))
            there = event.type != "DELETED" and (selected is None or selected(event.stored.object))
            if was or there:
                kind = "MODIFIED" if was and there else "ADDED" if there else "DELETED"
                api.reactor.callLater(api.latency, deliver, WatchEvent(kind, _item(event.stored)))

        collection = collection_of(resource)
        try:
            missed = api.store.events_after(collection, int(query["resourceVersion"]))
        except Compacted as problem:
            raise APIError(410, "Expired", f"too old resource version: {problem.oldest}") from problem
        for event in missed:
            changed(event)
        subscription = api.store.subscribe(collection, changed)
        timeout = api.reactor.callLater(seconds, done.callback, None)
        api._watches.add(done)
        try:
            await done
        finally:
            subscription.cancel()
            api._watches.discard(done)
            if timeout.active():
                timeout.cancel()


def _selected(resource: Resource, query: Mapping[str, str]) -> Predicate | None:
    fields = field_selector(resource, query.get("fieldSelector", ""))
    return both(label_selector(query.get("labelSelector", "")), fields)


def _item(stored: Stored) -> Item:
    return Item(stored.key.namespace, stored.key.name, str(stored.revision), "", "", stored.json)
