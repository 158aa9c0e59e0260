"""Nodes that are kept while the cloud does not hear them, and those that are evicted although writes fail."""

from __future__ import annotations

from superedge.kube.errors import APIError, Unavailable
from superedge.kube.times import read_time
from tests.health.judged import NO, YES, Case


class KeepingTests(Case):
    def test_an_entry_stands_before_ready_is_unknown_and_goes_afterwards(self) -> None:
        self.everybody_says("n1", YES)
        self.advance(14)
        self.renew("n0", "n2", "n3")
        self.everybody_says("n1", YES)
        self.assertEqual(self.kept(), {})
        self.advance(3)
        kept = self.kept()
        self.assertEqual(list(kept), ["n1"])
        until = read_time(kept["n1"])
        assert until is not None
        self.assertTrue(100 < until - self.wall() <= 120)
        self.renew("n1")
        self.advance(2)
        self.assertEqual(self.kept(), {})

    def test_a_late_renewal_of_a_node_that_answers_writes_nothing(self) -> None:
        self.streams.nodes = {f"n{number}": number for number in range(4)}
        self.judging.sessions_changed()
        self.everybody_says("n1", YES)
        self.advance(2)
        before = self.writes()
        for _ in range(3):
            self.renew("n0", "n1", "n2", "n3")
            before += 4
            for _ in range(4):
                self.everybody_says("n1", YES)
                self.advance(5.2)
        self.assertEqual((self.writes() - before, self.kept()), (0, {}))
        self.advance(2)
        self.assertEqual(set(self.kept()), {"n0", "n1", "n2", "n3"})

    def test_a_lease_of_hours_hides_no_other_that_is_overdue(self) -> None:
        self.renew("n0", duration=3600)
        self.renew("n1", "n2", "n3")
        self.judging.judge._turn = ["n0"] * 60
        self.advance(14)
        self.renew("n2", "n3")
        self.assertEqual(self.kept(), {})
        self.advance(3)
        self.assertEqual(list(self.kept()), ["n1"])

    def test_entries_are_renewed_together(self) -> None:
        before = self.writes()
        for _ in range(40):
            self.everybody_says("n1", YES)
            self.renew("n0")
            self.advance(5)
        until = [read_time(text) for text in self.kept().values()]
        self.assertEqual(len(until), 3)
        self.assertTrue(all(end is not None and end - self.wall() > 30 for end in until))
        self.assertLess(self.api.writes["configmaps"] - before, 8)

    def test_the_annotation_says_how_long_what_nobody_knows_is_kept(self) -> None:
        note = {"metadata": {"annotations": {"superedge.io/keep-unknown": "60s"}}}
        self.call("PATCH", "/api/v1/nodes/n1", note, "application/merge-patch+json")
        self.advance(40)
        self.assertEqual(set(self.kept()), {"n0", "n1", "n2", "n3"})
        self.advance(60)
        self.assertEqual(set(self.kept()), {"n0", "n2", "n3"})

    def test_a_failed_write_is_tried_again(self) -> None:
        self.api.available = False
        self.advance(20)
        self.api.available = True
        self.advance(15)
        self.assertEqual(set(self.kept()), {"n0", "n1", "n2", "n3"})

    def test_what_somebody_else_removes_is_written_again(self) -> None:
        path = "/api/v1/namespaces/superedge/configmaps/superedge-kept-nodes"
        self.advance(20)
        self.assertEqual(len(self.kept()), 4)
        self.call("PATCH", path, {"data": {"n1": None, "n2": "x", "m": "y"}}, "application/merge-patch+json")
        self.advance(1)
        self.assertEqual(set(self.kept()), {"n0", "n1", "n2", "n3"})
        self.assertIsNotNone(read_time(self.kept()["n2"]))
        self.call("DELETE", path)
        self.advance(2)
        self.assertEqual(set(self.kept()), {"n0", "n1", "n2", "n3"})

    def test_entries_follow_clocks_that_are_set_everywhere(self) -> None:
        self.patch(self.judging._kept, "_compare_clocks", lambda found, sent: None)
        self.advance(20)
        for step in (3600.0, -3600.0):
            self.step = step
            self.advance(6)
            for text in self.kept().values():
                self.assertTrue(100 < (read_time(text) or 0) - self.wall() <= 120, step)

    def test_entries_go_by_the_clock_of_the_api_server(self) -> None:
        self.advance(20)
        for step in (3600.0, -3600.0, 0.0):
            self.step = step
            for _ in range(20):
                self.advance(6)
                for text in self.kept().values():
                    self.assertTrue(60 < (read_time(text) or 0) - self.clock.seconds() <= 122, step)
            self.assertTrue(self.judging._kept.holds("n1"))

    def test_an_api_server_that_answers_late_has_no_other_clock(self) -> None:
        self.client.late = lambda method, path: 8.0 if method == "PATCH" else 0.0
        self.advance(26)
        self.client.late = lambda method, path: 0.0
        before = self.kept()
        while self.kept() == before:
            self.advance(1)
        self.assertTrue(all((read_time(text) or 0) - self.wall() > 117 for text in self.kept().values()))


REFUSALS = (
    (APIError(429, "TooManyRequests", "try again later"), 0.0),
    (APIError(500, "InternalError", "etcdserver: request timed out"), 0.0),
    (APIError(503, "ServiceUnavailable", "apiserver not ready"), 0.0),
    (Unavailable("did not answer within 10 s"), 10.0),
)


class RefusalTests(Case):
    def refuse(self, problem: Exception, seconds: float, *paths: str) -> None:
        """Writes of these paths."""
        self.client.seconds = seconds
        self.client.fault = lambda method, path: (
            problem if method != "GET" and any(each in path for each in paths) else None
        )

    def test_a_dead_node_is_evicted_in_the_end_and_others_at_once(self) -> None:
        taint, names = "superedge.io/dead:NoExecute", ("n0", "n1", "n2", "n3")
        for problem, seconds in REFUSALS:
            self.renew(*names)
            self.everybody_says("n1", YES)
            self.advance(2)
            self.refuse(problem, seconds, "/nodes/n1")
            self.advance(16)
            self.renew("n0", "n3")
            rows = {name: NO if name in ("n1", "n2") else YES for name in names}
            self.vote(n0=rows, n3=rows)
            self.advance(9)
            self.assertEqual((self.taints("n1"), self.taints("n2")), (set(), {taint}), problem)
            self.assertEqual(self.condition("n2"), "False")
            for _ in range(4):
                self.renew("n0", "n3")
                self.vote(n0=rows, n3=rows)
                self.advance(14)
            self.refuse(problem, seconds)
            self.vote(n0=rows, n3=rows)
            self.advance(seconds + 10.5)
            self.assertEqual((self.taints("n1"), self.condition("n1")), ({taint}, "False"), problem)

    def test_a_cut_node_is_kept_in_the_end(self) -> None:
        for problem, seconds in REFUSALS:
            self.refuse(problem, seconds, "/configmaps")
            self.advance(28)
            self.assertEqual(self.kept(), {})
            self.refuse(problem, seconds)
            self.advance(seconds + 5.5)
            self.assertEqual(set(self.kept()), {"n0", "n1", "n2", "n3"}, problem)
            self.renew("n0", "n1", "n2", "n3")
            self.advance(1)
