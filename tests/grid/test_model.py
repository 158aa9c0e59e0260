"""Names, sites, differences, waves and statuses."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.grid.cloud.children import Child
from superedge.grid.cloud.desired import workload
from superedge.grid.cloud.differences import satisfied
from superedge.grid.cloud.grids import Grid, without_nulls
from superedge.grid.cloud.kinds import DEPLOYMENT_GRID, STATEFULSET_GRID
from superedge.grid.cloud.naming import child_name, key_label
from superedge.grid.cloud.sites import Sites, read_labels
from superedge.grid.cloud.status import MAX_STATES, Problem, SiteView, workload_status
from superedge.grid.cloud.types import Rollout
from superedge.grid.cloud.view import View
from superedge.grid.cloud.waves import Taker, next_wave
from superedge.kube.errors import DecodeError
from tests.grid.controlled import KEY, pods

NOW = "2026-01-01T00:00:00Z"
SITE = st.from_regex(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", fullmatch=True)
GRID = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?(\.[a-z0-9]{1,5})?", fullmatch=True)
NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def a_grid(**spec: Any) -> Grid:
    item = {
        "metadata": {"name": "shop", "namespace": "x", "uid": "u", "generation": 4},
        "spec": {"gridUniqKey": KEY, "template": pods(), **spec},
    }
    return Grid(DEPLOYMENT_GRID, json.dumps(item).encode())


class NamingTests(SynchronousTestCase):
    def test_a_plain_value_stays_readable(self) -> None:
        self.assertEqual(child_name("shop", "zone-1", 242, True), "shop-zone-1")
        self.assertEqual(child_name("my.shop", "a", 242, True), "my.shop-a")

    @settings(max_examples=60, deadline=None)
    @given(
        GRID, st.lists(SITE, min_size=2, max_size=8, unique=True), st.sampled_from([(52, False), (242, True)])
    )
    def test_names_are_names_and_no_two_are_alike(
        self, grid: str, sites: list[str], kind: tuple[int, bool]
    ) -> None:
        names = [child_name(grid, site, *kind) for site in sites]
        self.assertEqual(len(set(names)), len(sites))
        for name in names:
            self.assertLessEqual(len(name), kind[0])
            self.assertTrue(all(map(NAME.fullmatch, name.split(".") if kind[1] else [name])), name)
        self.assertEqual(names, [child_name(grid, site, *kind) for site in sites])

    def test_a_value_that_looks_like_another_sites_name(self) -> None:
        hashed = child_name("shop", "Zone_A", 242, True)
        self.assertNotEqual(child_name("shop", hashed.removeprefix("shop-"), 242, True), hashed)

    def test_a_statefulset_of_which_pods_can_be_made(self) -> None:
        kind = STATEFULSET_GRID
        for site in ("s" * 47, "s" * 48, "s" * 63):
            name = child_name("shop", site, kind.limit, kind.dots)
            self.assertLessEqual(len(f"{name}-1234567890"), 63)
        self.assertNotIn(".", child_name("my.shop", "a", kind.limit, kind.dots))

    @settings(max_examples=40, deadline=None)
    @given(
        st.from_regex(
            r"([a-z]{1,8}(\.[a-z]{1,60}){0,3}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", fullmatch=True
        )
    )
    def test_a_key_as_a_labels_value(self, key: str) -> None:
        value = key_label(key)
        self.assertRegex(value, r"^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$")
        if "/" not in key and len(key) < 64:
            self.assertEqual(value, key)


class SitesTests(SynchronousTestCase):
    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["", "a", "b", "c", None])), max_size=30))
    def test_they_are_the_values_of_nodes(self, steps: list[tuple[int, str | None]]) -> None:
        sites, labels = Sites(), {}
        known: set[str] = set()
        self.assertEqual(sites.of(KEY), {})
        for number, site in steps:
            node = f"n{number}"
            labels[node] = site
            changed = sites.put(node, None if site is None else {KEY: site, "other": "x"})
            there = {each for each in labels.values() if each}
            self.assertEqual(set(changed), {(KEY, each) for each in known ^ there})
            known = there
            self.assertEqual({each: set(nodes) for each, nodes in sites.of(KEY).items()}, {
                each: {node for node, value in labels.items() if value == each} for each in there
            })  # fmt: skip

    def test_a_key_that_is_asked_for_later(self) -> None:
        sites = Sites()
        sites.put("n", {KEY: "a", "zone": "z"})
        self.assertEqual(dict(sites.of("zone")), {"z": {"n"}})

    def test_the_order_by_a_label(self) -> None:
        sites = Sites()
        for name, site, order in (
            ("1", "a", "10"),
            ("2", "a", "3"),
            ("3", "b", "9"),
            ("4", "c", "late"),
            ("5", "d", ""),
        ):
            sites.put(name, {KEY: site, "order": order})
        found = sorted("abcd", key=lambda site: sites.ordinal(KEY, site, "order"))
        self.assertEqual(found, ["a", "b", "c", "d"])

    def test_a_text_that_python_takes_for_a_number_is_none(self) -> None:
        """One that is no number in comparisons would leave the order to chance."""
        sites = Sites()
        for name, site, order in (("1", "a", "nan"), ("2", "b", "1_0"), ("3", "c", "7"), ("4", "d", "inf")):
            sites.put(name, {KEY: site, "order": order})
        found = sorted("abcd", key=lambda site: sites.ordinal(KEY, site, "order"))
        self.assertEqual(found, ["c", "b", "d", "a"])

    def test_what_is_no_node(self) -> None:
        self.assertRaises(DecodeError, read_labels, b"[]")
        self.assertEqual(read_labels(b'{"metadata": {"labels": null}}'), {})


class DesiredTests(SynchronousTestCase):
    def test_a_template_is_not_changed_by_any_site(self) -> None:
        template = pods()
        template["template"]["spec"]["nodeSelector"] = {"disk": "ssd", KEY: "other"}
        grid = a_grid(template=template)
        found = grid.template("default")
        assert found is not None
        before = copy.deepcopy(found.spec)
        one, other = (workload(grid, site, found, None) for site in ("a", "b"))
        self.assertEqual(one["spec"]["template"]["spec"]["nodeSelector"], {"disk": "ssd", KEY: "a"})
        self.assertEqual(other["spec"]["template"]["spec"]["nodeSelector"], {"disk": "ssd", KEY: "b"})
        self.assertEqual(found.spec, before)

    def test_a_users_selector_does_not_drop_the_site(self) -> None:
        expressions = [{"key": "tier", "operator": "In", "values": ["web"]}]
        selector = {"matchExpressions": expressions, "matchLabels": {"superedge.io/grid-site": "mine"}}
        grid = a_grid(template=pods(selector=selector))
        template = grid.template("default")
        assert template is not None
        self.assertEqual(
            workload(grid, "a", template, None)["spec"]["selector"],
            {"matchExpressions": expressions, "matchLabels": {"superedge.io/grid-site": "a"}},
        )

    def test_replicas_are_no_other_template(self) -> None:
        hashes = [a_grid(template=pods(replicas=count)).template("default") for count in (1, 2)]
        self.assertEqual(*(found and found.hash for found in hashes))

    def test_replicas_that_nobody_says_stay(self) -> None:
        """An owner that lets go of them sets them to 1."""
        template = pods()
        del template["replicas"]
        grid = a_grid(template=template)
        found = grid.template("default")
        assert found is not None
        item = workload(grid, "a", found, None)
        self.assertNotIn("replicas", item["spec"])
        item["spec"]["replicas"] = 5
        child = Child(DEPLOYMENT_GRID, json.dumps(item).encode())
        self.assertEqual(workload(grid, "a", found, child)["spec"]["replicas"], 5)

    def test_templates_that_nest_too_deep(self) -> None:
        def deep(levels: int) -> Any:
            return pods(template={"x": json.loads("[" * levels + "]" * levels)})

        self.assertIsNotNone(a_grid(template=deep(50)).template("default"))
        for levels in (200, 700):
            self.assertRaises(DecodeError, a_grid, template=deep(levels))
            self.assertRaises(DecodeError, a_grid, templatePool={"other": deep(levels)})

    def test_nulls_are_absent(self) -> None:
        self.assertEqual(without_nulls({"a": None, "b": [{"c": None, "d": 0}]}), {"b": [{"d": 0}]})


class DifferencesTests(SynchronousTestCase):
    def same(self, wanted: Any, actual: Any) -> None:
        self.assertTrue(satisfied(wanted, actual), f"{wanted} {actual}")

    def other(self, wanted: Any, actual: Any) -> None:
        self.assertFalse(satisfied(wanted, actual), f"{wanted} {actual}")

    def test_defaults_and_what_others_added(self) -> None:
        self.same({"a": 1}, {"a": 1, "b": 2})
        self.same(
            {"containers": [{"name": "x"}]}, {"containers": [{"name": "side"}, {"name": "x", "image": "y"}]}
        )
        self.same({"ports": [{"containerPort": 80}]}, {"ports": [{"containerPort": 80, "protocol": "TCP"}]})
        self.same({"ports": [{"port": 80}]}, {"ports": [{"port": 80, "protocol": "TCP", "nodePort": 30000}]})
        self.other({"ports": [{"port": 80, "protocol": "UDP"}]}, {"ports": [{"port": 80, "protocol": "TCP"}]})
        self.other({"a": 1}, {"a": 2})
        self.other(
            {"containers": [{"name": "x", "image": "y"}]}, {"containers": [{"name": "x", "image": "z"}]}
        )
        self.other({"containers": [{"name": "x"}]}, {"containers": [{"name": "y"}]})

    def test_what_is_empty_may_be_left_out(self) -> None:
        self.same({"a": {}, "b": [], "c": 0, "d": False, "e": "", "f": {"g": {}}}, {})
        self.other({"a": {"b": 1}}, {})
        self.other({"a": True}, {})

    def test_lists_that_belong_to_their_owner(self) -> None:
        self.same({"args": ["a", "b"]}, {"args": ["a", "b"]})
        self.other({"args": ["a", "b"]}, {"args": ["b", "a"]})
        self.other({"tolerations": [{"key": "a"}]}, {"tolerations": [{"key": "a"}, {"key": "b"}]})

    def test_quantities(self) -> None:
        for one, two in (
            ("1000m", "1"),
            ("1024Mi", "1Gi"),
            ("0.5", "500m"),
            (1, "1"),
            ("1e3", "1k"),
            ("1E", "1000P"),
        ):
            self.same({"resources": {"limits": {"cpu": one}}}, {"resources": {"limits": {"cpu": two}}})
        self.other({"resources": {"limits": {"cpu": "1"}}}, {"resources": {"limits": {"cpu": "2"}}})
        self.other({"limits": {"cpu": "1"}}, {"limits": {"cpu": "no"}})
        self.other({"limits": {"cpu": "1e9999999"}}, {"limits": {"cpu": "1"}})
        self.other({"env": [{"name": "a", "value": "1000m"}]}, {"env": [{"name": "a", "value": "1"}]})

    def test_kinds_of_values(self) -> None:
        self.other({"a": True}, {"a": 1})
        self.other({"a": {"b": 1}}, {"a": [1]})
        self.other({"a": [1]}, {"a": {"b": 1}})


class WaveTests(SynchronousTestCase):
    def takers(self, *states: str) -> list[Taker]:
        """``new``, ``old``, ``starting`` or ``failed``."""
        return [
            Taker(
                f"s{number}", (0, 0.0, ""), state != "old", state == "new", "why" if state == "failed" else ""
            )
            for number, state in enumerate(states)
        ]

    @settings(max_examples=100, deadline=None)
    @given(
        st.lists(st.sampled_from(["new", "old", "starting", "failed"]), max_size=12),
        st.one_of(st.integers(1, 5), st.sampled_from(["1%", "34%", "100%"])),
        st.one_of(st.integers(0, 12), st.sampled_from(["10%", "50%"])),
    )
    def test_no_more_than_it_may(self, states: list[str], most: int | str, pause: int | str) -> None:
        takers = self.takers(*states)
        wave = next_wave(Rollout(most, pause), takers)
        total = len(takers)
        bound = most if isinstance(most, int) else max(1, int(most[:-1]) * total // 100)
        on_the_way = sum(state in ("starting", "failed") for state in states)
        self.assertTrue(not wave.allowed or len(wave.allowed) + on_the_way <= bound)
        self.assertTrue(wave.allowed <= {each.site for each in takers if not each.updated})
        if "failed" in states:
            self.assertEqual(wave.allowed, frozenset())
        limit = pause if isinstance(pause, int) else -(-int(pause[:-1]) * total // 100)
        if limit:
            self.assertTrue(not wave.allowed or len(wave.allowed) + wave.updated <= limit)
        elif "failed" not in states and "old" in states and on_the_way < bound:
            self.assertTrue(wave.allowed)

    def test_a_rollout_ends(self) -> None:
        states = ["old"] * 7
        for _ in range(7):
            wave = next_wave(Rollout("30%"), self.takers(*states))
            for site in wave.allowed:
                states[int(site[1:])] = "new"
        self.assertTrue(next_wave(Rollout("30%"), self.takers(*states)).complete)
        self.assertEqual(states, ["new"] * 7)


class StatusTests(SynchronousTestCase):
    def child(self, grid: Grid, site: str, **status: int) -> Child:
        template = grid.template("default")
        assert template is not None
        item = workload(grid, site, template, None)
        item["metadata"]["generation"] = 1
        item["status"] = status
        return Child(DEPLOYMENT_GRID, json.dumps(item).encode())

    def ready(self, grid: Grid, site: str) -> Child:
        counts = {"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2}
        return self.child(grid, site, observedGeneration=1, **counts)

    def test_ready_is_of_any_template_and_the_condition_of_the_newest_generation(self) -> None:
        grid = a_grid()
        counts = {"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2}
        for change, ready, all_ready in (
            ({}, 1, "True"), ({"observedGeneration": 0}, 0, "False"), ({"updatedReplicas": 1}, 1, "False"),
            ({"availableReplicas": 1}, 0, "False"), ({"replicas": 3}, 1, "False"),
        ):  # fmt: skip
            child = self.child(grid, "a", **{"observedGeneration": 1, **counts, **change})
            status = workload_status(grid, [SiteView("a", child)], None, NOW)
            found = (status.readySites, status.states["a"].ready, status.conditions[0].status)
            self.assertEqual(found, (ready, bool(ready), all_ready), change)

    def test_the_pods_of_a_site_that_waits_for_its_template_are_ready(self) -> None:
        child = self.ready(a_grid(), "a")
        grid = a_grid(template={**a_grid().spec.template, "minReadySeconds": 3})
        status = workload_status(grid, [SiteView("a", child)], None, NOW)
        self.assertEqual((status.sites, status.updatedSites, status.readySites), (1, 0, 1))
        self.assertEqual(status.conditions[0].message, "1 of 1 site ready, 0 with all pods of the template")

    def test_the_pods_of_another_owner_are_not_the_site_s(self) -> None:
        item = self.ready(a_grid(), "a").whole()
        item["metadata"]["ownerReferences"][0]["uid"] = "another"
        view = SiteView("a", Child(DEPLOYMENT_GRID, json.dumps(item).encode()), Problem("NameTaken", "no"))
        self.assertEqual(workload_status(a_grid(), [view], None, NOW).readySites, 0)

    def test_a_failure_is_that_of_the_newest_generation(self) -> None:
        failed = {
            "type": "Progressing",
            "status": "False",
            "reason": "ProgressDeadlineExceeded",
            "message": "no",
        }
        for observed, said in ((0, ""), (1, "no")):
            item = self.child(a_grid(), "a").whole()
            item["status"] = {"observedGeneration": observed, "conditions": [failed]}
            self.assertEqual(Child(DEPLOYMENT_GRID, json.dumps(item).encode()).failure, said)

    def test_what_is_older_does_not_count(self) -> None:
        view, grid = View(), a_grid()
        for version, new in (("9", True), ("10", True), ("9", False), ("10", False)):
            item = self.child(grid, "a").whole()
            item["metadata"] |= {"resourceVersion": version, "uid": "u"}
            self.assertEqual(view.put_child(Child(DEPLOYMENT_GRID, json.dumps(item).encode())), new)

    def test_times_are_those_of_changes(self) -> None:
        grid = a_grid()
        grid.status = workload_status(grid, [SiteView("a", self.child(grid, "a"))], None, NOW)
        later = "2026-01-01T00:01:00Z"
        same = workload_status(grid, [SiteView("a", self.child(grid, "a"))], None, later)
        self.assertEqual(same, grid.status)
        ready = workload_status(grid, [SiteView("a", self.ready(grid, "a"))], None, later)
        self.assertEqual([each.lastTransitionTime for each in ready.conditions], [later, NOW])

    def test_a_site_that_leaves_does_not_count(self) -> None:
        grid = a_grid()
        views = [SiteView("a", self.ready(grid, "a")), SiteView("b", self.ready(grid, "b"), leaving=True)]
        status = workload_status(grid, views, None, NOW)
        self.assertEqual((status.sites, status.updatedSites, status.readySites), (1, 1, 1))

    def test_it_is_bounded(self) -> None:
        grid = a_grid()
        child = self.ready(grid, "a")
        views = [SiteView(f"s{number:05}", child) for number in range(MAX_STATES + 500)]
        views.append(SiteView("z", None))
        status = workload_status(grid, views, None, NOW)
        self.assertEqual((len(status.states), status.sites), (MAX_STATES, MAX_STATES + 501))
        self.assertIn("z", status.states)
