"""What is no longer true does not come back: a definition is deleted and made anew, a backup is restored."""

from __future__ import annotations

from functools import partial
from typing import Any

from superedge.testing.contracts.client import Answer, Client, WatchStream
from tests.cluster.environment import Environment, EnvironmentCase, wait_until
from tests.cluster.informers import CUSTOM, Informers
from tests.cluster.lite import LiteAPIServer
from tests.liteapiserver.differential import DEFINITION, GROUP
from tests.liteapiserver.link import Link

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
TILLS = f"/apis/{GROUP}/v1/namespaces/default/tills"
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
SCHEMA = f"/openapi/v3/apis/{GROUP}/v1"


def till(name: str) -> dict[str, Any]:
    return {"apiVersion": f"{GROUP}/v1", "kind": "Till", "metadata": {"name": name}, "spec": {"drawer": 1}}


def names(answer: Answer) -> list[str]:
    """Of the objects in a list."""
    assert answer.status == 200, answer.body
    return [item["metadata"]["name"] for item in answer.json["items"]]


class HistoryTests(EnvironmentCase):
    """Tests of one class run in the order of their names."""

    lite: LiteAPIServer
    link: Link
    direct: Client
    through: Client

    @classmethod
    def prepare(cls, environment: Environment) -> None:
        cluster = environment.cluster
        cluster.up()
        admin = cluster.certificate("admin", ["system:masters"])
        pair = (admin.certificate, admin.key)
        cls.direct = Client(cluster.server, cluster.pki / "ca.crt", *pair)
        cls.direct.call("POST", CONFIGMAPS, {"metadata": {"name": "kept"}})
        cluster.back_up()
        cls.link = Link(cluster.server)
        environment.last.append(cls.link.cut)
        cls.lite = LiteAPIServer(environment, upstream=cls.link.port)
        cls.through = Client(cls.lite.url, cluster.pki / "ca.crt", *pair)

    def cut(self) -> None:
        self.link.cut()
        wait_until(lambda: self.lite.state == "offline", "the outage is noticed")

    def mend(self) -> None:
        self.link.restore()
        wait_until(lambda: self.lite.state == "online", "the cloud is back")

    def make(self, path: str, body: dict[str, Any]) -> None:
        answer = self.direct.call("POST", path, body)
        self.assertEqual(answer.status, 201, answer.body)

    def define(self) -> None:
        self.make(DEFINITIONS, DEFINITION)
        wait_until(lambda: self.direct.call("GET", TILLS).status == 200, "the resource is served")

    def undefine(self) -> None:
        self.direct.call("DELETE", f"{DEFINITIONS}/tills.{GROUP}")
        wait_until(lambda: self.direct.call("GET", TILLS).status == 404, "the resource is not served")
        definition = f"{DEFINITIONS}/tills.{GROUP}"
        wait_until(lambda: self.direct.call("GET", definition).status == 404, "the definition is gone")

    def kubectl(self, *arguments: str) -> tuple[str, str]:
        done = self.environment.try_kubectl(*arguments, kubeconfig=self.lite.kubeconfig)
        return done.stdout, done.stderr

    def version(self, client: Client, path: str) -> str:
        return str(client.call("GET", path).json["metadata"]["resourceVersion"])

    def rest(self, stream: WatchStream) -> list[tuple[str, Any]]:
        with stream:
            return list(stream.rest())

    def check_the_same(self, *paths: str) -> None:
        for path in paths:
            ours, theirs = (client.call("GET", path) for client in (self.through, self.direct))
            self.assertEqual((ours.status, ours.body), (theirs.status, theirs.body), path)

    def test_1_a_definition_is_deleted_and_made_anew(self) -> None:
        self.define()
        self.make(TILLS, till("front"))
        wait_until(lambda: "front" in self.kubectl("get", "tills")[0], "kubectl has it")
        wait_until(lambda: self.through.call("GET", SCHEMA).status == 200, "its schema is there")
        old = self.version(self.through, TILLS)
        watches = [each.watch(TILLS, resourceVersion=old) for each in (self.through, self.direct)]
        self.undefine()
        ours, theirs = map(self.rest, watches)
        self.assertEqual([(kind, each["metadata"]["name"]) for kind, each in ours], [("DELETED", "front")])
        self.assertEqual(ours, theirs)
        wait_until(lambda: self.direct.call("GET", SCHEMA).status == 404, "its schema is gone")
        resumed = f"{TILLS}?watch=1&timeoutSeconds=1&resourceVersion={old}"
        everything = (TILLS, f"{TILLS}/front", resumed, SCHEMA, f"/apis/{GROUP}", f"/apis/{GROUP}/v1")
        self.check_the_same(*everything)
        self.assertIn("NotFound", self.kubectl("get", "tills")[1])
        self.assertNotIn("tills", self.kubectl("api-resources")[0])
        self.cut()
        for path in everything:
            self.assertEqual(self.through.call("GET", path).status, 503, path)
        self.assertNotIn("tills", self.kubectl("api-resources")[0])
        self.mend()
        self.define()
        self.make(TILLS, till("back"))
        self.check_the_same(TILLS)
        self.check_the_same(resumed)  # 410: the client lists
        self.assertIn("back", self.kubectl("get", "tills")[0])

    def test_2_in_an_outage(self) -> None:
        informers = Informers(self.lite.kubeconfig, self.environment.directory / "informer.log", True)
        self.addCleanup(informers.stop)
        informers.ask(f"follow tills {CUSTOM[0]}")
        self.check_informer(informers, "back")
        old = self.version(self.through, TILLS)
        self.cut()
        self.undefine()
        self.define()
        self.make(TILLS, till("third"))
        self.lite.crash()
        self.lite.start()
        wait_until(lambda: self.lite.state == "offline", "it is back without the cloud")
        self.assertEqual(names(self.through.call("GET", TILLS)), ["back"])
        self.mend()
        resumed = f"{TILLS}?watch=1&timeoutSeconds=1&resourceVersion={old}"
        self.check_the_same(resumed, TILLS, f"{TILLS}/back")
        self.check_informer(informers, "third")
        self.cut()
        self.assertEqual(names(self.through.call("GET", TILLS)), ["third"])
        self.assertEqual(self.through.call("GET", f"{TILLS}/back").status, 404)
        self.undefine()  # and not made anew
        self.mend()
        self.check_the_same(resumed)
        self.cut()
        for path in (TILLS, f"{TILLS}/third"):
            self.assertEqual(self.through.call("GET", path).status, 503, path)
        self.mend()

    def check_informer(self, informers: Informers, name: str) -> None:
        def shown() -> list[str]:
            return list(informers.ask("show tills")["objects"])

        wait_until(lambda: shown() == [f"default/{name}"], f"the informer shows {name} alone", 40)

    def check_informers(self, everyone: list[Informers], wanted: set[str]) -> None:
        for informers in everyone:
            shown = partial(informers.ask, "show all")
            wait_until(lambda shown=shown: set(shown()["objects"]) == wanted, "an informer is right", 40)  # type: ignore[misc]

    def test_3_a_token_of_a_pod_that_is_deleted_meanwhile(self) -> None:
        accounts, pods = (f"/api/v1/namespaces/default/{each}" for each in ("serviceaccounts", "pods"))
        self.make(accounts, {"metadata": {"name": "default"}})
        self.make(pods, {"metadata": {"name": "web"}, "spec": {"containers": [{"name": "a", "image": "a"}]}})
        uid = self.direct.call("GET", f"{pods}/web").json["metadata"]["uid"]
        bound = {"kind": "Pod", "apiVersion": "v1", "name": "web", "uid": uid}
        asked = self.direct.call("POST", f"{accounts}/default/token", {"spec": {"boundObjectRef": bound}})
        self.assertEqual(asked.status, 201, asked.body)
        # Nobody aggregates the role "view" here.
        name = "system:aggregate-to-view"
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
        subject = {"kind": "ServiceAccount", "name": "default", "namespace": "default"}
        bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings"
        self.make(bindings, {"metadata": {"name": "view"}, "roleRef": role, "subjects": [subject]})
        token = Client(self.lite.url, self.through.ca, token=asked.json["status"]["token"])
        wait_until(lambda: token.call("GET", CONFIGMAPS).status == 200, "its rights are known")
        self.cut()
        self.direct.call("DELETE", f"{pods}/web", gracePeriodSeconds="0")
        # Only the cloud knows, and nobody hears of it before it is back: docs/how-to/lite-apiserver.md.
        self.assertEqual(token.call("GET", CONFIGMAPS).status, 200)
        self.mend()
        # The API server remembers for ten seconds that it took the token.
        wait_until(lambda: token.call("GET", CONFIGMAPS).status == 401, "it counts no longer", 30)
        self.cut()
        self.assertEqual(token.call("GET", CONFIGMAPS).status, 401)
        self.mend()

    def test_4_a_backup_is_restored(self) -> None:
        cluster = self.environment.cluster
        for number in range(100):
            self.make(CONFIGMAPS, {"metadata": {"name": f"lost-{number}"}})
        log = self.environment.directory / "informer.log"
        everyone = [Informers(self.lite.kubeconfig, log, watch_list) for watch_list in (False, True)]
        for informers in everyone:
            self.addCleanup(informers.stop)
            informers.ask("follow all json configmaps.v1 default - -")
        self.check_informers(everyone, {"default/kept", *(f"default/lost-{each}" for each in range(100))})
        high = self.version(self.through, CONFIGMAPS)
        held = self.through.watch(CONFIGMAPS, resourceVersion=high)
        cluster.restore()
        self.assertEqual(self.rest(held), [])
        wait_until(lambda: self.lite.state == "online", "the cloud is back")
        resumed = f"{CONFIGMAPS}?watch=1&timeoutSeconds=1&resourceVersion={high}"
        silent = self.direct.call("GET", resumed)
        self.make(CONFIGMAPS, {"metadata": {"name": "after"}})
        self.assertEqual((silent.status, silent.body), (200, b""), "what an API server says of the future")
        answer = self.through.call("GET", resumed)
        self.assertEqual((answer.status, answer.json["reason"]), (410, "Expired"))
        self.check_informers(everyone, {"default/after", "default/kept"})
        self.check_the_same(CONFIGMAPS)
        self.cut()
        self.assertEqual(names(self.through.call("GET", CONFIGMAPS)), ["after", "kept"])
        self.mend()
