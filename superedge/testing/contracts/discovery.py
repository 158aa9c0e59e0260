"""The contract's part on discovery documents, version and health."""

from __future__ import annotations

from typing import Any

from superedge.testing.contracts.case import ContractCase

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


class DiscoveryContract(ContractCase):
    """What clients learn before their first call."""

    def _aggregated(self, path: str) -> Any:
        answer = self.admin.call("GET", path, accept=f"{AGGREGATED},application/json")
        document = self.ok(answer)
        self.assertIn("as=APIGroupDiscoveryList", answer.headers["content-type"])
        self.assertEqual(document["kind"], "APIGroupDiscoveryList")
        self.assertEqual(document["apiVersion"], "apidiscovery.k8s.io/v2")
        return document

    def test_aggregated_core(self) -> None:
        """/api has the core group, whose name is empty, and everything about its resources."""
        (group,) = self._aggregated("/api")["items"]
        self.assertNotIn("name", group["metadata"])
        (version,) = group["versions"]
        self.assertEqual((version["version"], version["freshness"]), ("v1", "Current"))
        resources = {resource["resource"]: resource for resource in version["resources"]}
        pods = resources["pods"]
        # Empty stands for the group and version that it is listed in.
        self.assertEqual(pods["responseKind"], {"group": "", "version": "", "kind": "Pod"})
        self.assertEqual(
            (pods["scope"], pods["singularResource"], pods["shortNames"]), ("Namespaced", "pod", ["po"])
        )
        self.assertEqual(resources["nodes"]["scope"], "Cluster")
        self.assertLessEqual({"get", "list", "watch", "patch", "deletecollection"}, set(pods["verbs"]))
        self.assertLessEqual({"status", "log", "exec"}, {sub["subresource"] for sub in pods["subresources"]})
        (token,) = resources["serviceaccounts"]["subresources"]
        kind = {"group": "authentication.k8s.io", "version": "v1", "kind": "TokenRequest"}
        self.assertEqual(token["responseKind"], kind)

    def test_aggregated_groups(self) -> None:
        """/apis has the named groups."""
        groups = {group["metadata"]["name"]: group for group in self._aggregated("/apis")["items"]}
        resources = {each["resource"]: each for each in groups["apps"]["versions"][0]["resources"]}
        kind = {"group": "", "version": "", "kind": "Deployment"}
        self.assertEqual(resources["deployments"]["responseKind"], kind)
        self.assertIn("coordination.k8s.io", groups)

    def test_aggregated_not_modified(self) -> None:
        """A client that has the document already gets 304."""
        accept = f"{AGGREGATED},application/json"
        etag = self.admin.call("GET", "/apis", accept=accept).headers["etag"]
        again = self.admin.call("GET", "/apis", accept=accept, headers={"If-None-Match": etag})
        self.assertEqual((again.status, again.body), (304, b""))

    def test_legacy(self) -> None:
        """Clients that ask for plain JSON get one document a level."""
        core = self.ok(self.admin.call("GET", "/api"))
        self.assertEqual((core["kind"], core["versions"]), ("APIVersions", ["v1"]))
        groups = self.ok(self.admin.call("GET", "/apis"))
        self.assertEqual(groups["kind"], "APIGroupList")
        apps = next(group for group in groups["groups"] if group["name"] == "apps")
        self.assertEqual(apps["preferredVersion"], {"groupVersion": "apps/v1", "version": "v1"})
        self.assertEqual(self.ok(self.admin.call("GET", "/apis/apps"))["kind"], "APIGroup")
        listed = self.ok(self.admin.call("GET", "/apis/apps/v1"))
        self.assertEqual((listed["kind"], listed["groupVersion"]), ("APIResourceList", "apps/v1"))
        resources = {each["name"]: each for each in self.ok(self.admin.call("GET", "/api/v1"))["resources"]}
        self.assertEqual(
            (resources["configmaps"]["kind"], resources["configmaps"]["namespaced"]), ("ConfigMap", True)
        )
        self.assertEqual(resources["pods/status"]["kind"], "Pod")

    def test_unknown_paths(self) -> None:
        """Groups, versions and resources that do not exist are 404."""
        for path in ("/apis/no.such.group", "/apis/apps/v9", "/api/v1/nothings", "/apis/apps/v1/nothings"):
            self.assertEqual(self.admin.call("GET", path).status, 404, path)

    def test_version_and_health(self) -> None:
        """The version has major and minor; health paths answer ok."""
        version = self.ok(self.admin.call("GET", "/version"))
        self.assertEqual(version["major"], "1")
        self.assertTrue(version["gitVersion"].startswith("v1."))
        for path in ("/healthz", "/livez", "/readyz"):
            answer = self.admin.call("GET", path)
            self.assertEqual((answer.status, answer.body), (200, b"ok"))

    def test_openapi(self) -> None:
        """OpenAPI v3 has a document for each group version."""
        paths = self.ok(self.admin.call("GET", "/openapi/v3"))["paths"]
        self.assertLessEqual({"api/v1", "apis/apps/v1"}, paths.keys())
        url, _, query = paths["apis/apps/v1"]["serverRelativeURL"].partition("?hash=")
        document = self.ok(self.admin.call("GET", url, hash=query))
        self.assertIn("/apis/apps/v1/namespaces/{namespace}/deployments/{name}", document["paths"])
