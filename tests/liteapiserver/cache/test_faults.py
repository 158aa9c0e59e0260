"""Bodies that are cut, false or too large, and records that are damaged."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.liteapiserver.cache.driver import (
    PODS,
    Driver,
    gzipped,
    list_of,
    pod,
)


class FaultTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.driver = Driver(max_body=10_000)
        self.driver.feed(PODS, list_of([pod("a", 3)], 9))

    def tearDown(self) -> None:
        self.assertEqual(self.driver.names(PODS), ["a"])
        self.driver.reboot()
        self.assertEqual(self.driver.names(PODS), ["a"])

    def test_truncated_bodies(self) -> None:
        body = list_of([pod("b", 4)], 12)
        for end in range(0, len(body), 11):
            self.driver.feed(PODS, body[:end])
            recorder = self.driver.begin(PODS)
            assert recorder is not None
            recorder.data([body[:end]])
            recorder.abort()

    def test_bodies_that_are_something_else(self) -> None:
        for body in (b"", b"null", b"[]", b"<html>", b"{}", b'{"kind":"Status"}', b"\xff\xfe"):
            self.driver.feed(PODS, body)
            self.driver.feed(f"{PODS}/a", body)

    def test_too_large_a_body(self) -> None:
        self.driver.feed(PODS, list_of([pod("x" * 20_000, 4)], 12))

    def test_bodies_on_their_way_are_bounded_for_each_identity(self) -> None:
        """Of answers that a caller does not read to the end, and takes ever more of."""
        body = list_of([pod("b", 4, padding="x" * 7000)], 12)
        other = self.driver.begin(PODS, identity="cert:other")
        endless = [self.driver.begin(f"{PODS}?labelSelector=n{number}") for number in range(100)]
        for recorder in endless:
            assert recorder is not None
            recorder.data([body])
        held = [recorder for recorder in endless if recorder._chunks]  # type: ignore[union-attr]
        self.assertEqual(len(held), 1)
        assert other is not None
        other.data([body])
        other.complete()
        self.assertEqual(self.driver.names(PODS, identity="cert:other"), ["b"])
        for recorder in endless:
            recorder.abort()  # type: ignore[union-attr]
        elsewhere = "/api/v1/namespaces/x/pods"
        self.driver.feed(elsewhere, list_of([pod("b", 4, "x", padding="x" * 7000)], 12))
        self.assertEqual(self.driver.names(elsewhere), ["b"], "what ended counts no longer")

    def test_a_bomb(self) -> None:
        self.driver.feed(PODS, gzipped([b"x" * 50_000_000]), encoding=b"gzip")

    def test_a_lost_record_is_no_proof_of_deletion(self) -> None:
        driver = Driver()
        driver.feed(PODS, list_of([pod("a", 3), pod("b", 4, app="x")], 9))
        driver.feed(f"{PODS}?labelSelector=app", list_of([pod("b", 4, app="x")], 9))
        (lost,) = [key for kind, key in driver.records if kind == "object" and key[-1] == "a"]
        del driver.records["object", lost]
        driver.reboot()
        self.assertEqual(driver.status(f"{PODS}/a"), 503)
        self.assertEqual(driver.status(PODS), 503)
        self.assertEqual(driver.status(f"{PODS}/b"), 200)
        self.assertEqual(driver.names(f"{PODS}?labelSelector=app"), ["b"])  # it lacks nothing

    def test_what_one_view_deletes_the_others_do_not_lack(self) -> None:
        driver = Driver()
        driver.feed(PODS, list_of([pod("a", 3), pod("b", 4, app="x")], 9))
        driver.feed(f"{PODS}?labelSelector=app", list_of([pod("b", 4, app="x")], 9))
        driver.feed(f"{PODS}/b", b'{"kind":"Status","reason":"NotFound","code":404}', 404)
        driver.reboot()
        self.assertEqual(driver.names(PODS), ["a"])
        self.assertEqual(driver.names(f"{PODS}?labelSelector=app"), [])

    def test_damaged_records_are_dropped_alone(self) -> None:
        for kind, key in list(self.driver.records):
            other = (*key[:-1], "damaged")
            self.driver.records[kind, other] = b"no json\nrest"
        self.driver.records["object", ("too", "short")] = b"{}\n"
        self.driver.records["stranger", ("x",)] = b""
        self.driver.reboot()
        self.assertFalse([key for _, key in self.driver.records if key[-1] == "damaged"])
