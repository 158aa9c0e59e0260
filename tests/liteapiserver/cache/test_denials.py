"""A 403 that was seen online stands offline against what was read before it."""

from __future__ import annotations

import json
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from superedge.liteapiserver.cache import denials
from superedge.liteapiserver.cache.answers import Answer
from tests.liteapiserver.cache.driver import (
    ME,
    PODS,
    TABLE,
    Driver,
    event,
    list_of,
    pod,
    request,
    row,
    table,
    typed,
)

ALL = "/api/v1/pods"
LABELLED = f"{PODS}?labelSelector=app"
MINE = f"{PODS}?fieldSelector=spec.nodeName%3Dme"


class DenialTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.driver = Driver()
        self.feed = self.driver.feed

    def before_and_after_a_reboot(self, check: Callable[[], None]) -> None:
        check()
        self.driver.reboot()
        check()

    def deny(self, target: str, audited: bool = True, identity: str = ME) -> None:
        self.assertIsNone(self.driver.begin(target, 403, audited=audited, identity=identity))

    def test_a_list(self) -> None:
        self.feed(PODS, list_of([pod("a", 3, app="x")], 9))
        self.feed(PODS, json.dumps(table([row("a", 3)], 9)).encode(), accept=TABLE)
        self.feed(PODS, b"kind: PodList", accept="application/yaml")
        self.deny(PODS)

        def check() -> None:
            for accept in ("application/json", TABLE, "application/yaml"):
                self.assertEqual(self.driver.status(PODS, accept=accept), 403)
            # What was shown by the list alone, and what could be told from it.
            self.assertEqual(self.driver.status(f"{PODS}/a"), 503)
            self.assertEqual(self.driver.status(LABELLED), 503)
            self.assertFalse([key for kind, key in self.driver.records if kind in ("object", "document")])

        self.before_and_after_a_reboot(check)
        answer = self.driver.ask(PODS)
        assert isinstance(answer, Answer)
        self.assertEqual(json.loads(answer.body)["reason"], "Forbidden")
        answer = self.driver.cache.answer(ME, request(PODS, method="HEAD"))
        assert isinstance(answer, Answer)
        self.assertEqual(answer.status, 403)
        self.feed(PODS, list_of([pod("b", 12)], 20))
        self.before_and_after_a_reboot(lambda: self.assertEqual(self.driver.names(PODS), ["b"]))

    def test_what_needs_other_rights(self) -> None:
        """Who may not list everything may list a namespace, or what is on the own node."""
        self.feed(PODS, list_of([pod("a", 3)], 9))
        self.feed(MINE, list_of([pod("a", 3)], 9))
        self.feed(PODS, list_of([pod("a", 3)], 9), identity="cert:other")
        self.feed(f"{PODS}/b", json.dumps(typed(pod("b", 5))).encode())
        self.deny(ALL)
        self.before_and_after_a_reboot(lambda: self.assertEqual(self.driver.names(PODS), ["a", "b"][:1]))
        self.deny(PODS)

        def check() -> None:
            self.assertEqual(self.driver.status(PODS), 403)
            self.assertEqual(self.driver.names(MINE), ["a"])
            self.assertEqual(self.driver.status(f"{PODS}/a"), 200)
            self.assertEqual(self.driver.status(f"{PODS}/b"), 200)
            self.assertEqual(self.driver.names(PODS, identity="cert:other"), ["a"])

        self.before_and_after_a_reboot(check)

    def test_a_part_of_what_was_listed(self) -> None:
        """Who may list everything may list a part: so it may no longer be listed."""
        self.feed(ALL, list_of([pod("a", 3, app="x")], 9))
        self.deny(LABELLED)
        self.before_and_after_a_reboot(lambda: self.assertEqual(self.driver.status(ALL), 503))

    def test_an_object(self) -> None:
        self.feed(f"{PODS}/a", json.dumps(typed(pod("a", 3))).encode())
        self.feed(f"{PODS}/b", json.dumps(typed(pod("b", 3))).encode())
        self.deny(f"{PODS}/a")

        def check() -> None:
            self.assertEqual(self.driver.status(f"{PODS}/a"), 403)
            self.assertEqual(self.driver.status(f"{PODS}/b"), 200)

        self.before_and_after_a_reboot(check)
        self.assertEqual(len(self.driver.records), 2)
        self.feed(PODS, list_of([pod("a", 3)], 9))
        self.deny(f"{PODS}/a")
        self.assertEqual(self.driver.names(PODS), ["a"], "that is another right")
        self.assertEqual(self.driver.status(f"{PODS}/a"), 403)
        self.feed(f"{PODS}/a", b'{"kind":"Status","reason":"NotFound"}', 404)
        self.assertEqual(self.driver.status(f"{PODS}/a"), 404)

    def test_a_watch(self) -> None:
        self.feed(PODS, list_of([pod("a", 3)], 9))
        self.deny(f"{PODS}?watch=true&resourceVersion=9")
        self.assertEqual(self.driver.status(f"{PODS}?watch=true&resourceVersion=9"), 403)
        self.assertEqual(self.driver.names(PODS), ["a"])
        self.feed(PODS, list_of([pod("a", 3)], 9))
        self.assertEqual(self.driver.status(f"{PODS}?watch=true&resourceVersion=9"), 200)
        self.deny(f"{PODS}?watch=true&sendInitialEvents=true")
        self.assertEqual(self.driver.status(PODS), 503, "that lists, too")

    def test_a_watch_that_is_open(self) -> None:
        """It is left alone, and what it showed counts no longer."""
        self.feed(PODS, list_of([pod("a", 3)], 9))
        watch = self.driver.watch(f"{PODS}?resourceVersion=9", event("ADDED", pod("b", 10)))
        self.deny(PODS)
        watch.data([event("ADDED", pod("c", 11)), event("DELETED", pod("a", 12))])
        self.assertEqual(self.driver.status(PODS), 403)
        self.assertEqual(self.driver.status(LABELLED), 503)
        watch.complete()

    def test_other_paths(self) -> None:
        for target in ("/version", f"{PODS}/a/status"):
            self.feed(target, b"{}")
            self.deny(target)
            for _ in range(2):
                self.assertEqual(self.driver.status(target), 403)
                self.driver.reboot()
            self.driver.feed(target, b"{}")
            self.assertEqual(self.driver.status(target), 200)

    def test_who_stands_before_an_api_server_denies_nothing(self) -> None:
        self.feed(PODS, list_of([pod("a", 3)], 9))
        self.deny(PODS, audited=False)
        self.assertEqual(self.driver.names(PODS), ["a"])

    def test_they_are_bounded(self) -> None:
        self.patch(denials, "MAX_DENIALS", 3)
        for number in range(10):
            self.deny(f"{PODS}/p{number}")
        self.deny(f"{PODS}?labelSelector={'x' * 5000}")
        self.assertEqual(
            [key[6] for kind, key in self.driver.records if kind == "denied"], ["p7", "p8", "p9"]
        )
