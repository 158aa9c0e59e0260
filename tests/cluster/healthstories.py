"""What happens to the sites of edge health's tests: each story is of one site, in a thread of its own.

A story gives the cluster `PATIENCE` for whatever has to come about, because how long that takes says how busy
the machine is. What it tells of is what must not happen meanwhile, and in which order the rest does.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from math import inf

from superedge.kube.times import read_time
from tests.cluster.edgesites import EdgeSites, seconds_until
from tests.cluster.environment import wait_until

DEAD = ("superedge.io/dead", "NoExecute")
EVICTED = ("node.kubernetes.io/unreachable", "NoExecute")
UNSCHEDULED = ("node.kubernetes.io/unreachable", "NoSchedule")
PATIENCE = 120.0
"""Seconds after which what has to come about counts as failed."""


class Story:
    """What happened on one site, in a thread of its own."""

    def __init__(self, sites: EdgeSites) -> None:
        self.sites = sites
        self.toleration = sites.toleration

    def until(self, condition: Callable[[], object], what: str) -> None:
        """It comes about."""
        wait_until(condition, what, PATIENCE)

    def through(self, seconds: float, holds: Callable[[], bool], what: str) -> None:
        """It is true all the time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if not holds():
                raise AssertionError(f"{what}: not {time.monotonic() - end + seconds:.0f} s later")
            time.sleep(0.5)

    def unready(self, *names: str) -> None:
        for name in names:
            self.until(lambda name=name: self.sites.ready(name) == "Unknown", f"{name} is lost")  # type: ignore[misc]

    def kept(self, app: str, before: set[str]) -> bool:
        """The same pods, all of them ready endpoints."""
        return set(self.sites.pods(app)) == before == set(self.sites.endpoints(app))

    def entries(self) -> dict[str, str]:
        done = self.sites.try_kubectl(
            "-n", "superedge", "get", "configmap", "superedge-kept-nodes", "-o", "json"
        )
        found: dict[str, str] = json.loads(done.stdout).get("data", {}) if done.returncode == 0 else {}
        return found

    def replaced_early(self, app: str, node: str, before: set[str]) -> None:
        """The new pods were made before the tolerations of the node's own would have ended."""
        pods = self.sites.pods(app)
        made = [
            read_time(pods[name]["metadata"]["creationTimestamp"]) or 0.0 for name in pods.keys() - before
        ]
        ready = next(
            each for each in self.sites.node(node)["status"]["conditions"] if each["type"] == "Ready"
        )
        lost = inf if ready["status"] == "True" else read_time(ready["lastTransitionTime"]) or 0.0
        if not made or max(made) >= lost + self.toleration:
            raise AssertionError(f"pods of {app} made at {made}, {node} lost at {lost}")

    def all_on(self, app: str, names: list[str]) -> bool:
        """Four endpoints, all on these nodes."""
        found = list(self.sites.endpoints(app).values())
        return len(found) == 4 and set(found) <= set(names)

    # -- the stories

    def cut(self) -> None:
        """(a) A node loses only the cloud."""
        sites = self.sites
        node, before = sites.nodes["alpha-1"], set(sites.pods("alpha"))
        node.cut_cloud()
        self.unready("alpha-1")
        self.through(self.toleration + 15, lambda: self.kept("alpha", before), "the pods of a cut node stay")
        assert UNSCHEDULED in sites.taints("alpha-1") and EVICTED not in sites.taints("alpha-1")
        assert sites.condition("alpha-1", "EdgePeerHealthy") == "True"
        node.join_cloud()
        self.until(lambda: sites.ready("alpha-1") == "True", "it is back")
        self.until(lambda: not sites.taints("alpha-1"), "no taint is left")
        self.until(lambda: "alpha-1" not in self.entries(), "no entry is left")
        assert self.kept("alpha", before)

    def death(self) -> dict[str, float]:
        """(b) A node dies."""
        sites = self.sites
        victim, before, started = sites.nodes["beta-1"], set(sites.pods("beta")), time.monotonic()
        victim.die()
        times = {"verdict": seconds_until(lambda: sites.verdicts("beta-1") == {"dead"}, "verdict", PATIENCE)}
        self.until(lambda: DEAD in sites.taints("beta-1"), "it is evicted")
        times["evicted"] = time.monotonic() - started

        def replaced() -> bool:
            nodes = list(sites.endpoints("beta").values())
            return len(nodes) == 4 and "beta-1" not in nodes

        self.until(replaced, "a replacement runs")
        times["replaced"] = time.monotonic() - started
        self.replaced_early("beta", "beta-1", before)
        assert sites.condition("beta-1", "EdgePeerHealthy") == "False"
        assert sites.node("beta-1")["metadata"]["annotations"]["nodeunhealth"] == "yes"
        victim.revive()
        self.until(lambda: sites.ready("beta-1") == "True", "it is back")
        self.until(lambda: DEAD not in sites.taints("beta-1"), "its taint is gone")
        self.until(lambda: sites.verdicts("beta-1") == {"alive"}, "it is alive")
        self.until(
            lambda: "nodeunhealth" not in sites.node("beta-1")["metadata"]["annotations"], "no annotation"
        )
        return times

    def whole_site(self) -> None:
        """(c) A whole site loses the cloud."""
        sites = self.sites
        before, names = set(sites.pods("gamma")), ["gamma-1", "gamma-2", "gamma-3"]
        for name in names:
            sites.nodes[name].cut_cloud()
        self.unready(*names)
        self.until(lambda: sites.verdicts(*names) == {"unknown"}, "nobody speaks of them")
        self.through(self.toleration + 10, lambda: self.kept("gamma", before), "the pods of a cut site stay")
        for name in names:
            sites.nodes[name].join_cloud()
        self.until(lambda: sites.verdicts(*names) == {"alive"}, "they are back")
        self.wrong_clocks()

    def split(self) -> None:
        """(d) A site splits in two; one half has the cloud, then the other gets it, too."""
        sites = self.sites
        far = [sites.nodes[name] for name in ("delta-3", "delta-4")]
        before = set(sites.pods("delta"))
        sites.part("delta", far)
        self.through(30, lambda: self.kept("delta", before), "both halves have the cloud: nobody is evicted")
        sites.heal("delta", far)
        names = ("delta-1", "delta-2", "delta-3", "delta-4")
        self.until(lambda: sites.verdicts(*names) == {"alive"}, "it is whole")
        self.left_behind()

    def split_without_cloud(self) -> None:
        """(d) The half of a split site that has no cloud either is replaced by the other; both ways round.

        Two witnesses that have the cloud suffice. One does not: it cannot tell whether it is itself cut off.
        """
        sites = self.sites
        names = [f"sigma-{number}" for number in range(1, 5)]
        nodes = [sites.nodes[name] for name in names]
        for lost, left in ((nodes[2:], names[:2]), (nodes[:2], names[2:])):
            sites.part("sigma", nodes[2:])
            for node in lost:
                node.cut_cloud()
            for node in lost:
                self.until(lambda node=node: DEAD in sites.taints(node.name), f"{node.name} is evicted")  # type: ignore[misc]
            self.until(lambda left=left: self.all_on("sigma", left), "the half with the cloud has all")  # type: ignore[misc]
            assert not any(DEAD in sites.taints(name) for name in left)
            sites.heal("sigma", nodes[2:])
            for node in lost:
                node.join_cloud()
            self.until(lambda: sites.verdicts(*names) == {"alive"}, "it is whole")
            self.until(lambda: not any(sites.taints(name) for name in names), "no taint is left")
        before = set(sites.pods("sigma"))
        sites.part("sigma", nodes[1:])
        for node in nodes[1:]:
            node.cut_cloud()
        self.unready(*names[1:])
        self.through(self.toleration + 5, lambda: self.kept("sigma", before), "three of whom one node speaks")

    def two_nodes(self) -> None:
        """(e) A site of two: one is cut and kept; then it dies."""
        sites = self.sites
        node, before = sites.nodes["two-1"], set(sites.pods("two"))
        node.cut_cloud()
        self.unready("two-1")
        self.through(self.toleration + 5, lambda: self.kept("two", before), "a cut node of two is kept")
        node.die()
        self.until(lambda: DEAD in sites.taints("two-1"), "its one witness suffices")
        self.until(lambda: list(sites.endpoints("two").values()) == ["two-2", "two-2"], "it is replaced")

    def one_node(self) -> None:
        """(e) A site of one: what nobody can know is kept, as long as its annotation says."""
        sites = self.sites
        node, before = sites.nodes["one-1"], set(sites.pods("one"))
        sites.kubectl("annotate", "node", "one-1", "superedge.io/keep-unknown=60s")
        node.cut_cloud()
        self.unready("one-1")
        self.through(15, lambda: self.kept("one", before), "it is kept")
        self.until(lambda: EVICTED in sites.taints("one-1"), "it is not kept for ever")
        self.until(lambda: not before & set(sites.pods("one")), "and then evicted")

    def zone(self) -> float:
        """(j) Five of six nodes of a zone are cut and kept; the sixth dies."""
        sites = self.sites
        cut = [f"eta-{number}" for number in range(1, 6)]
        for name in cut:
            sites.nodes[name].cut_cloud()
        self.unready(*cut)
        all_pods = set(sites.pods("eta"))
        before = {name for name, node in sites.endpoints("eta").items() if node != "eta-6"}
        started = time.monotonic()
        sites.nodes["eta-6"].die()

        def replaced() -> bool:
            found = sites.endpoints("eta")
            return "eta-6" not in found.values() and len(found) == 7

        self.until(replaced, "the dead one among the cut is replaced")
        taken = time.monotonic() - started
        self.replaced_early("eta", "eta-6", all_pods)
        self.through(self.toleration, lambda: before <= set(sites.endpoints("eta")), "the cut ones are kept")
        for name in cut:
            sites.nodes[name].join_cloud()
        return taken

    def flapping(self) -> int:
        """(i) Twenty cuts of five seconds."""
        sites = self.sites
        node, before = sites.nodes["theta-1"], set(sites.pods("theta"))
        count = sites.writes("theta-1")
        for _ in range(20):
            node.cut_cloud()
            time.sleep(5)
            node.join_cloud()
            time.sleep(0.7)
        self.until(lambda: self.kept("theta", before), "its pod is where it was, and ready")
        self.until(lambda: "theta-1" not in self.entries(), "no entry is left")
        return sites.writes("theta-1") - count

    def wrong_clocks(self) -> None:
        """(l) Its nodes count again once they have contact, whatever their clocks say."""
        sites = self.sites
        nodes = [sites.nodes[f"gamma-{number}"] for number in (1, 2, 3)]
        for node in nodes:
            node.cut_cloud()
            node.kill("edge")
        for node, wrong in zip(nodes, (3600.0, 3600.0, -200.0), strict=True):
            node.start_edge(wrong)
        self.until(lambda: all(node.status().get("members") for node in nodes), "they know their unit")
        nodes[0].join_cloud()
        names = [node.name for node in nodes]
        self.until(lambda: sites.verdicts(*names) == {"alive"}, "one contact is enough for all")
        for node in nodes:
            node.join_cloud()

    def left_behind(self) -> None:
        """(h) An old annotation, an old entry and an old taint."""
        sites = self.sites
        sites.kubectl("annotate", "node", "delta-1", "nodeunhealth=yes", "--overwrite")
        old = {"data": {"delta-2": "2026-01-01T00:00:00Z"}}
        sites.kubectl("-n", "superedge", "patch", "configmap", "superedge-kept-nodes", "-p", json.dumps(old))
        self.until(
            lambda: "nodeunhealth" not in sites.node("delta-1")["metadata"]["annotations"],
            "the old word goes",
        )
        before = set(sites.pods("delta"))
        sites.nodes["delta-1"].cut_cloud()
        self.unready("delta-1")
        self.through(10, lambda: self.kept("delta", before), "a cut node is kept")
        sites.nodes["delta-1"].join_cloud()
        sites.nodes["delta-2"].die()
        self.until(lambda: DEAD in sites.taints("delta-2"), "an old entry protects no dead node")
        sites.kubectl("taint", "node", "delta-3", "superedge.io/dead:NoExecute", "--overwrite")
        self.until(lambda: DEAD not in sites.taints("delta-3"), "the old taint goes")

    def native_death(self) -> float:
        """(b) A node dies, with failover = "native": tolerations count from when Ready is Unknown."""
        sites, started = self.sites, time.monotonic()
        sites.nodes["beta-1"].die()
        self.until(lambda: sites.verdicts("beta-1") == {"dead"}, "it is dead")
        self.until(lambda: EVICTED in sites.taints("beta-1"), "the cluster's own taint")
        assert DEAD not in sites.taints("beta-1")

        def replaced() -> bool:
            nodes = list(sites.endpoints("beta").values())
            return len(nodes) == 4 and "beta-1" not in nodes

        self.until(replaced, "a replacement runs")
        return time.monotonic() - started
