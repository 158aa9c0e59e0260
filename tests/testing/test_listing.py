from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.testing.listing import list_page
from superedge.testing.status import APIError
from superedge.testing.storage import Collection, Compacted, Event, Key, Store

THINGS = Collection("", "things")
NAMES = st.sampled_from(["a", "b", "c", "d", "e"])
CHANGES = st.lists(st.tuples(st.booleans(), NAMES), max_size=20)


def put(store: Store, name: str, namespace: str = "n") -> None:
    store.put(THINGS, Key(namespace, name), {"metadata": {"name": name, "namespace": namespace}})


def change(store: Store, changes: list[tuple[bool, str]]) -> None:
    for stays, name in changes:
        if stays:
            put(store, name)
        elif store.get(THINGS, Key("n", name)):
            store.delete(THINGS, Key("n", name))


def names(store: Store, revision: int | None = None) -> list[str]:
    return [stored.key.name for stored in store.snapshot(THINGS, "n", revision)]


class StoreTests(SynchronousTestCase):
    @settings(max_examples=100)
    @given(CHANGES)
    def test_past_snapshots_and_events_agree(self, changes: list[tuple[bool, str]]) -> None:
        store = Store()
        heard: list[Event] = []
        store.subscribe(THINGS, heard.append)
        past: dict[int, list[str]] = {store.revision: []}
        for one in changes:
            change(store, [one])
            past[store.revision] = names(store)
        for revision, wanted in past.items():
            self.assertEqual(names(store, revision), wanted)
            later = [event for event in heard if event.revision > revision]
            self.assertEqual(store.events_after(THINGS, revision), later)
        self.assertEqual([event.revision for event in heard], sorted({event.revision for event in heard}))

    def test_bounded_history(self) -> None:
        store = Store(history=3)
        for name in "abcde":
            put(store, name)
        self.assertEqual(len(store.events_after(THINGS, store.oldest)), 3)
        problem = self.assertRaises(Compacted, store.events_after, THINGS, store.oldest - 1)
        self.assertEqual(problem.oldest, store.oldest)

    def test_compacted(self) -> None:
        store = Store()
        put(store, "a")
        old = store.revision
        put(store, "b")
        store.compact()
        self.assertRaises(Compacted, store.snapshot, THINGS, "", old)
        self.assertEqual(store.events_after(THINGS, store.revision), [])
        self.assertEqual(names(store), ["a", "b"])

    def test_cancelled_subscription(self) -> None:
        store = Store()
        heard: list[Event] = []
        subscription = store.subscribe(THINGS, heard.append)
        subscription.cancel()
        put(store, "a")
        self.assertEqual(heard, [])


class PageTests(SynchronousTestCase):
    @settings(max_examples=100)
    @given(CHANGES, CHANGES, st.integers(1, 4))
    def test_pages_show_one_moment(
        self, before: list[tuple[bool, str]], between: list[tuple[bool, str]], limit: int
    ) -> None:
        store = Store()
        change(store, before)
        wanted, version = names(store), str(store.revision)
        query: dict[str, str] = {"limit": str(limit)}
        seen: list[str] = []
        while True:
            page = list_page(store, THINGS, "n", query, None)
            seen += [item.key.name for item in page.items]
            self.assertEqual(page.metadata["resourceVersion"], version)
            self.assertEqual(page.metadata.get("remainingItemCount", 0), len(wanted) - len(seen))
            if "continue" not in page.metadata:
                break
            self.assertEqual(len(page.items), limit)
            query["continue"] = page.metadata["continue"]
            change(store, between)
        self.assertEqual(seen, wanted)

    def refused(self, store: Store, code: int, **query: str) -> dict[str, Any]:
        problem = self.assertRaises(APIError, list_page, store, THINGS, "", query, None)
        self.assertEqual(problem.code, code)
        return dict(problem.status())

    def test_expired_token_offers_another(self) -> None:
        store = Store()
        for name in "abc":
            put(store, name)
        token = list_page(store, THINGS, "", {"limit": "1"}, None).metadata["continue"]
        put(store, "d")
        store.compact()
        status = self.refused(store, 410, limit="1", **{"continue": token})
        self.assertEqual(status["reason"], "Expired")
        rest = list_page(store, THINGS, "", {"continue": status["metadata"]["continue"]}, None)
        self.assertEqual([item.key.name for item in rest.items], ["b", "c", "d"])
        self.assertEqual(rest.metadata, {"resourceVersion": str(store.revision)})

    def test_versions(self) -> None:
        store = Store()
        put(store, "a")
        version = str(store.revision)
        put(store, "b")

        def listed(**query: str) -> list[str]:
            return [item.key.name for item in list_page(store, THINGS, "", query, None).items]

        self.assertEqual(listed(resourceVersion=version, resourceVersionMatch="Exact"), ["a"])
        self.assertEqual(listed(resourceVersion=version, resourceVersionMatch="NotOlderThan"), ["a", "b"])
        self.assertEqual(listed(resourceVersion=version), ["a", "b"])
        self.assertEqual(listed(resourceVersion="0"), ["a", "b"])
        self.refused(store, 504, resourceVersion=str(store.revision + 1))

    @settings(max_examples=100)
    @given(st.text(max_size=12))
    def test_any_token(self, token: str) -> None:
        store = Store()
        try:
            list_page(store, THINGS, "", {"continue": token}, None)
        except APIError as problem:
            self.assertEqual(problem.code, 400)
        else:
            self.assertEqual(token, "")
