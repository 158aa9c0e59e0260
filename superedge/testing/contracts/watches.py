"""The contract's part on watches: events, bookmarks, streaming lists, the end of history."""

from __future__ import annotations

from typing import Any

from superedge.testing.contracts.case import ContractCase

_END = "k8s.io/initial-events-end"


class WatchContract(ContractCase):
    """WATCH by its query parameters."""

    def _version(self) -> str:
        return str(self.ok(self.admin.call("GET", self.configmaps))["metadata"]["resourceVersion"])

    def test_events(self) -> None:
        """From a version on, every change in order, each with a higher version."""
        version = self._version()
        with self.admin.watch(self.configmaps, resourceVersion=version) as watch:
            made = self.create("one", a="1")
            path = f"{self.configmaps}/one"
            changed = self.ok(self.admin.call("PUT", path, {**made, "data": {"a": "2"}}))
            self.ok(self.admin.call("DELETE", path))
            events = self._own(watch, 3)
        self.assertEqual([kind for kind, _ in events], ["ADDED", "MODIFIED", "DELETED"])
        self.assertEqual([item for _, item in events[:2]], [made, changed])
        self.assertEqual(events[2][1]["data"], {"a": "2"})
        versions = [int(item["metadata"]["resourceVersion"]) for _, item in events]
        self.assertEqual(versions, sorted(set(versions)))
        with self.admin.watch(self.configmaps, resourceVersion=version) as again:
            self.assertEqual(self._own(again, 3), events)

    def _own(self, watch: Any, count: int) -> list[tuple[str, Any]]:
        """The next events but those of what a controller puts into each namespace."""
        found: list[tuple[str, Any]] = []
        while len(found) < count:
            kind, item = watch.next()
            if item.get("metadata", {}).get("name") != "kube-root-ca.crt":
                found.append((kind, item))
        return found

    def test_from_now(self) -> None:
        """Without a version, what is there comes first."""
        self.create("one")
        with self.admin.watch(self.configmaps) as watch:
            first = self._own(watch, 1)[0]
            self.create("two")
            second = self._own(watch, 1)[0]
        self.assertEqual([(first[0], first[1]["metadata"]["name"])], [("ADDED", "one")])
        self.assertEqual([(second[0], second[1]["metadata"]["name"])], [("ADDED", "two")])

    def test_selection(self) -> None:
        """Objects enter and leave what a selector chooses."""
        version = self._version()
        with self.admin.watch(self.configmaps, resourceVersion=version, labelSelector="app=x") as watch:
            made = self.create("one", {"app": "y"})
            path = f"{self.configmaps}/one"
            for app in ("x", "y"):
                made["metadata"]["labels"]["app"] = app
                made = self.ok(self.admin.call("PUT", path, made))
            events = [watch.next(), watch.next()]
        self.assertEqual([kind for kind, _ in events], ["ADDED", "DELETED"])
        self.assertEqual(events[1][1]["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"])

    def test_one_object(self) -> None:
        """A field selector watches one name."""
        version = self._version()
        with self.admin.watch(
            self.configmaps, resourceVersion=version, fieldSelector="metadata.name=two"
        ) as watch:
            self.create("one")
            self.create("two")
            self.assertEqual(watch.next()[1]["metadata"]["name"], "two")

    def test_bookmarks_before_the_end(self) -> None:
        """A watch with a time limit ends by itself, with a bookmark shortly before for those who asked."""
        version = self._version()
        query: dict[str, Any] = {
            "resourceVersion": version,
            "timeoutSeconds": 3,
            "allowWatchBookmarks": "true",
        }
        with self.admin.watch(self.configmaps, **query) as watch:
            # A server need not say that nothing has happened.
            made = self.create("one")
            events = [event for event in watch.rest() if event[0] == "BOOKMARK"]
        self.assertTrue(events)
        bookmark = events[-1][1]
        version = made["metadata"]["resourceVersion"]
        self.assertEqual((bookmark["kind"], bookmark["apiVersion"]), ("ConfigMap", "v1"))
        self.assertGreaterEqual(int(bookmark["metadata"]["resourceVersion"]), int(version))
        self.assertNotIn(_END, bookmark["metadata"].get("annotations") or {})

    def test_streaming_list(self) -> None:
        """What is there, then a bookmark that says so, then changes."""
        for name in "abc":
            self.create(name)
        query: dict[str, Any] = {
            "sendInitialEvents": "true",
            "resourceVersionMatch": "NotOlderThan",
            "allowWatchBookmarks": "true",
        }
        with self.admin.watch(self.configmaps, **query) as watch:
            events = self._own(watch, 4)
            self.create("d")
            live = self._own(watch, 1)[0]
        self.assertEqual([kind for kind, _ in events], ["ADDED"] * 3 + ["BOOKMARK"])
        self.assertEqual({item["metadata"]["name"] for _, item in events[:3]}, {"a", "b", "c"})
        bookmark = events[3][1]["metadata"]
        self.assertEqual(bookmark["annotations"], {_END: "true"})
        newest = max(int(item["metadata"]["resourceVersion"]) for _, item in events[:3])
        self.assertGreaterEqual(int(bookmark["resourceVersion"]), newest)
        self.assertEqual((live[0], live[1]["metadata"]["name"]), ("ADDED", "d"))

    def test_parameters_refused(self) -> None:
        """Parameters that do not go together are 422 before the stream begins."""
        for name, value in (("sendInitialEvents", "true"), ("resourceVersionMatch", "NotOlderThan")):
            query: dict[str, Any] = {"watch": "true", name: value}
            answer = self.admin.call("GET", self.configmaps, **query)
            self.failed(answer, 422, "Invalid")

    def test_too_old(self) -> None:
        """A watch from forgotten history is one ERROR event with a 410 Status."""
        version = self.create("a")["metadata"]["resourceVersion"]
        self.create("b")
        self.server.compact()

        def first() -> Any:
            with self.admin.watch(self.configmaps, resourceVersion=version, timeoutSeconds=1) as watch:
                return next(watch.rest(), None)

        event = self.wait(lambda: (found := first()) and found[0] == "ERROR" and found)
        self.check_failure(event[1], 410, "Expired")
        self.assertIn("too old resource version", event[1]["message"])
