"""client-go's informers behind lite-apiserver: what their stores hold is what is true, or was."""

from __future__ import annotations

import signal

from tests.cluster.environment import Environment, wait_until
from tests.cluster.informers import CONFIGMAPS, CUSTOM, FOLLOWED, NODE, PODS, TILLS, InformerCase
from tests.cluster.lite import LiteAPIServer
from tests.liteapiserver.differential import DEFINITION, GROUP


class WatchListTests(InformerCase):
    """Informers as they are since client-go 0.35: one WatchList instead of a list and a watch."""

    watch_list = True

    @classmethod
    def prepare(cls, environment: Environment) -> None:
        environment.cluster.up()
        cls.begin(environment, LiteAPIServer(environment))

    def test_online_outage_crash_and_recovery(self) -> None:
        lite, cluster = self.lite, self.environment.cluster
        made = [self.configmap(f"cm-{number}", "x" * 4000) for number in range(100)]
        for body in made:  # so many that WatchLists come in gzip
            self.make(CONFIGMAPS, body)
        container = {"name": "main", "image": "test.local/box:1"}
        account = {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "default"}}
        self.direct.call("POST", "/api/v1/namespaces/default/serviceaccounts", account)
        for number in range(3):
            spec = {"containers": [container], "nodeName": NODE if number else "elsewhere"}
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"pod-{number}"}, "spec": spec}
            self.make(PODS, pod)
        first = self.informers(self.watch_list)
        followed = dict(FOLLOWED)
        for name, (what, _, _) in followed.items():
            first.ask(f"follow {name} {what}")
        self.check(first, list(followed), self.truths(followed))

        # A kind of resource that is made while everything runs.
        self.make("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", DEFINITION)
        wait_until(lambda: self.direct.call("GET", TILLS).status == 200, "the custom resource is served")
        followed["tills"] = CUSTOM
        first.ask(f"follow tills {CUSTOM[0]}")
        till = {"apiVersion": f"{GROUP}/v1", "kind": "Till", "metadata": {"name": "front"}, "spec": {"a": 1}}
        self.make(TILLS, till)
        self.direct.call("DELETE", f"{CONFIGMAPS}/cm-2")
        self.make(CONFIGMAPS, self.configmap("late-1"))
        truths = self.truths(followed)
        self.check(first, list(followed), truths)
        asked = first.ask("requests")
        self.assertEqual(asked["watchlist"] > 0, self.watch_list, asked)

        cluster.stop("kube-apiserver", signal.SIGKILL)
        wait_until(lambda: lite.state == "offline", "the outage is noticed")
        self.check(first, list(followed), truths)
        second = self.informers(self.watch_list)  # a program that starts in the outage
        for name, (what, _, _) in followed.items():
            second.ask(f"follow {name} {what}")
        self.check(second, list(followed), truths)

        lite.crash()
        lite.start()
        wait_until(lambda: lite.state == "offline", "lite-apiserver is back")
        third = self.informers(self.watch_list)
        for name, (what, _, _) in followed.items():
            third.ask(f"follow {name} {what}")
        everyone = (first, second, third)
        for informers in everyone:
            self.check(informers, list(followed), truths)

        cluster.start("kube-apiserver")
        cluster.wait_until_ready()
        wait_until(lambda: self.direct.call("GET", TILLS).status == 200, "the custom resource is served")
        self.make(CONFIGMAPS, self.configmap("recovered-1"))
        self.direct.call("DELETE", f"{CONFIGMAPS}/cm-3")
        self.direct.call("DELETE", f"{PODS}/pod-1", gracePeriodSeconds="0")
        wait_until(lambda: lite.state == "online", "the cloud is back")
        truths = self.truths(followed)
        for informers in everyone:
            self.check(informers, list(followed), truths)
        self.addCleanup(self.direct.call, "DELETE", CONFIGMAPS)


class ListAndWatchTests(WatchListTests):
    """Informers as they were before: a list, then a watch."""

    watch_list = False
