from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.kube.objects import version_number
from superedge.kube.request import RequestInfo, parse_request


def parse(method: str, target: str) -> RequestInfo:
    return parse_request(method.encode(), target.encode(), b"")


class ResourceTests(SynchronousTestCase):
    def check(self, method: str, target: str, verb: str, *where: str) -> None:
        info = parse(method, target)
        self.assertTrue(info.is_resource)
        found = (info.group, info.version, info.resource, info.subresource, info.namespace, info.name)
        self.assertEqual((info.verb, *found), (verb, *where), target)

    def test_reads(self) -> None:
        self.check("GET", "/api/v1/pods", "list", "", "v1", "pods", "", "", "")
        self.check("GET", "/api/v1/namespaces/a/pods", "list", "", "v1", "pods", "", "a", "")
        self.check("GET", "/api/v1/namespaces/a/pods/b", "get", "", "v1", "pods", "", "a", "b")
        self.check("GET", "/api/v1/namespaces/a/pods/b/log", "get", "", "v1", "pods", "log", "a", "b")
        self.check(
            "GET", "/apis/apps/v1/deployments?watch=true", "watch", "apps", "v1", "deployments", "", "", ""
        )
        self.check(
            "GET", "/apis/apps/v1/deployments?watch=1", "watch", "apps", "v1", "deployments", "", "", ""
        )
        self.check(
            "GET", "/apis/apps/v1/deployments?watch=false", "list", "apps", "v1", "deployments", "", "", ""
        )
        self.check("GET", "/api/v1/watch/namespaces/a/pods", "watch", "", "v1", "pods", "", "a", "")
        self.check("GET", "/api/v1/namespaces/a/pods/b?watch=true", "get", "", "v1", "pods", "", "a", "b")
        self.check("HEAD", "/api/v1/namespaces/a/pods/b", "get", "", "v1", "pods", "", "a", "b")
        self.check("HEAD", "/api/v1/pods", "list", "", "v1", "pods", "", "", "")
        self.check("OPTIONS", "/api/v1/pods", "", "", "v1", "pods", "", "", "")
        self.check("GET", "/api/v1/proxy/nodes/n/stats", "proxy", "", "v1", "nodes", "", "", "n")

    def test_namespaces_themselves(self) -> None:
        self.check("GET", "/api/v1/namespaces", "list", "", "v1", "namespaces", "", "", "")
        self.check("GET", "/api/v1/namespaces/a", "get", "", "v1", "namespaces", "", "a", "a")
        self.check(
            "PUT", "/api/v1/namespaces/a/finalize", "update", "", "v1", "namespaces", "finalize", "a", "a"
        )

    def test_writes(self) -> None:
        self.check("POST", "/api/v1/namespaces/a/pods", "create", "", "v1", "pods", "", "a", "")
        self.check("PUT", "/api/v1/nodes/n/status", "update", "", "v1", "nodes", "status", "", "n")
        self.check("PATCH", "/api/v1/nodes/n", "patch", "", "v1", "nodes", "", "", "n")
        self.check("DELETE", "/api/v1/nodes/n", "delete", "", "v1", "nodes", "", "", "n")
        self.check("DELETE", "/api/v1/nodes", "deletecollection", "", "v1", "nodes", "", "", "")

    def test_other_paths(self) -> None:
        for target in (
            "/",
            "/api",
            "/apis",
            "/api/v1",
            "/apis/apps",
            "/apis/apps/v1",
            "/version",
            "/healthz",
        ):
            info = parse("GET", target)
            self.assertFalse(info.is_resource, target)
            self.assertEqual(info.verb, "get")
        self.assertEqual(parse("POST", "/apis").verb, "post")

    def test_queries(self) -> None:
        info = parse("GET", "/api/v1/pods?labelSelector=a%3Db%2Cc&limit=5&timeoutSeconds=x&watch")
        self.assertEqual(info.query["labelSelector"], "a=b,c")
        self.assertEqual(
            (info.number("limit"), info.number("timeoutSeconds"), info.number("z")), (5, None, None)
        )
        self.assertTrue(info.flag("watch"))
        for text in ("%C2%B2", "-1", "1.5", "", "%2B1"):
            self.assertIsNone(parse("GET", f"/api/v1/pods?limit={text}").number("limit"), text)

    def test_what_a_flag_is(self) -> None:
        for text in (
            "watch",
            "watch=",
            "watch=1",
            "watch=t",
            "watch=T",
            "watch=yes",
            "watch=on",
            "watch=True",
        ):
            self.assertEqual(parse("GET", f"/api/v1/pods?{text}").verb, "watch", text)
        for text in ("", "watch=0", "watch=false", "watch=False", "watch=FAL%C5%BFE", "Watch=1", "watch2=1"):
            self.assertEqual(parse("GET", f"/api/v1/pods?{text}").verb, "list", text)

    def test_of_a_parameter_that_is_there_twice_the_first_counts(self) -> None:
        self.assertEqual(parse("GET", "/api/v1/pods?watch=0&watch=1").verb, "list")
        self.assertEqual(parse("GET", "/api/v1/pods?w%61tch=1&watch=0").verb, "watch")

    def test_numbers_too_long_for_any_server(self) -> None:
        self.assertIsNone(parse("GET", f"/api/v1/pods?limit={'9' * 3000}").number("limit"))
        self.assertEqual(version_number("9" * 5000), 0)

    def test_escaped_names(self) -> None:
        info = parse("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode")
        self.assertEqual(info.name, "system:node")
        self.assertEqual(parse("GET", "/api/v1/n%6fdes/n").resource, "nodes")

    def test_targets_that_servers_may_read_in_different_ways(self) -> None:
        for target in (
            "/api/v1/namespaces/shop%2Fpods%2Fweb:80%2Fproxy%2F/serviceaccounts/x/token",
            "/api/v1/namespaces/a/pods/b%2Fc",
            "/api/v1/namespaces/a/pods/b%2fc",
            "/api/v1//pods",
            "//api/v1/pods",
            "/api/v1/pods/",
            "/api/v1/./pods",
            "/api/v1/nodes/../pods",
            "/api/v1/nodes/%2e%2E/pods",
            "/api/v1/nodes/n/proxy/..",
            "/api/v1/pods;x=1",
            "/api/v1/pods%3Bx",
            "/api/v1/pods%00",
            "/api/v1/pods%",
            "/api/v1/pods%zz",
            "/api/v1/pods%25",
            "/api/v1/namespaces/a/pods/%FF",
            "/api/v1/pods\\a",
            "/api/v1/pods#a",
            "/api/v1/watch",
            "https://127.0.0.1/api/v1/pods",
            "HTTPS://127.0.0.1/api/v1/pods",
            "api/v1/pods",
            "*",
            "",
            "/api/v1/pods?watch=1;limit=1",
            "/api/v1/pods?limit=%",
            "/api/v1/pods?limit=%zz",
            "/api/v1/pods?labelSelector=%FE",
        ):
            for method in ("GET", "POST"):
                info = parse(method, target)
                self.assertTrue(info.opaque, target)
                self.assertFalse(info.is_resource or info.is_read or info.query, target)
                self.assertEqual((info.verb, info.path), (method.lower(), target))

    @given(st.binary(max_size=10), st.binary(max_size=80), st.binary(max_size=20))
    def test_any_bytes_are_read(self, method: bytes, target: bytes, accept: bytes) -> None:
        for path in (target, b"/api/v1/" + target):
            info = parse_request(method, path, accept)
            self.assertEqual((info.method.encode("latin-1"), info.accept.encode("latin-1")), (method, accept))
            self.assertEqual(info.is_resource, bool(info.resource))
            self.assertFalse(info.is_resource and info.opaque)
