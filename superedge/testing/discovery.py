"""Discovery documents (legacy and aggregated), version, and the parts of OpenAPI that kubectl needs. Pure."""

from __future__ import annotations

from typing import Any

from superedge.testing.representation import accepted
from superedge.testing.resources import Registry, Resource, Subresource

Document = dict[str, Any]
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

VERSION = {
    "major": "1",
    "minor": "37",
    "gitVersion": "v1.37.0+superedge.embedded",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}


def wants_aggregated(accept: str) -> bool:
    """Whether the client prefers `APIGroupDiscoveryList` v2."""
    for kind, parameters in accepted(accept):
        if kind == "application/json" and parameters.get("as") == "APIGroupDiscoveryList":
            if parameters.get("v") == "v2":
                return True
        elif kind in ("application/json", "*/*"):
            return False
    return False


def _group_version(group: str, version: str) -> str:
    return f"{group}/{version}" if group else version


def _group(group: str, versions: list[str]) -> Document:
    listed = [{"groupVersion": _group_version(group, version), "version": version} for version in versions]
    return {"name": group, "versions": listed, "preferredVersion": listed[0]}


def api_versions(server: str) -> Document:
    """GET /api."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server}],
    }


def group_list(registry: Registry) -> Document:
    """GET /apis."""
    groups = [_group(group, versions) for group, versions in registry.groups().items() if group]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def one_group(registry: Registry, group: str) -> Document | None:
    """GET /apis/GROUP."""
    versions = registry.groups().get(group)
    return None if versions is None else {"kind": "APIGroup", "apiVersion": "v1", **_group(group, versions)}


def resource_list(registry: Registry, group: str, version: str) -> Document | None:
    """GET /apis/GROUP/VERSION or /api/v1."""
    resources = registry.in_version(group, version)
    if resources is None:
        return None
    listed: list[Document] = []
    for resource in resources:
        entry: Document = {
            "name": resource.plural,
            "singularName": resource.singular_name,
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": list(resource.verbs),
        }
        if resource.short:
            entry["shortNames"] = list(resource.short)
        if resource.categories:
            entry["categories"] = list(resource.categories)
        listed.append(entry)
        for sub in resource.all_subresources():
            listed.append(
                {
                    "name": f"{resource.plural}/{sub.name}",
                    "singularName": "",
                    "namespaced": resource.namespaced,
                    **({"group": sub.group, "version": sub.version} if sub.group else {}),
                    "kind": sub.kind,
                    "verbs": list(sub.verbs),
                }
            )
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": _group_version(group, version),
        "resources": listed,
    }


def aggregated(registry: Registry, core: bool) -> Document:
    """GET /api (``core``) or /apis as one document."""
    items = []
    for group, versions in registry.groups().items():
        if (group == "") is core:
            listed = [
                {
                    "version": version,
                    "resources": [_aggregated(each) for each in registry.in_version(group, version) or ()],
                    "freshness": "Current",
                }
                for version in versions
            ]
            metadata = {"name": group} if group else {}
            items.append({"metadata": metadata | {"creationTimestamp": None}, "versions": listed})
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    }


def _aggregated(resource: Resource) -> Document:
    entry: Document = {
        "resource": resource.plural,
        # An empty group and version mean those of the enclosing list.
        "responseKind": {"group": "", "version": "", "kind": resource.kind},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular_name,
        "verbs": list(resource.verbs),
    }
    if resource.short:
        entry["shortNames"] = list(resource.short)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    subresources = [_aggregated_subresource(sub) for sub in resource.all_subresources()]
    return entry | ({"subresources": subresources} if subresources else {})


def _aggregated_subresource(sub: Subresource) -> Document:
    kind = {"group": sub.group, "version": sub.version, "kind": sub.kind}
    return {"subresource": sub.name, "responseKind": kind, "verbs": list(sub.verbs)}


# -- OpenAPI: no schemas, only the parameters fieldValidation and fieldManager of each PATCH ------


def _operation(resource: Resource) -> Document:
    names = ("dryRun", "fieldManager", "fieldValidation", "force")
    return {
        "operationId": f"patch{resource.group.title().replace('.', '')}{resource.version}{resource.kind}",
        "parameters": [
            {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}} for name in names
        ],
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": {
            "group": resource.group,
            "version": resource.version,
            "kind": resource.kind,
        },
    }


def resource_path(resource: Resource) -> str:
    """The path template of one object."""
    root = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
    scope = "/namespaces/{namespace}" if resource.namespaced else ""
    return f"{root}{scope}/{resource.plural}/{{name}}"


def openapi_v3_root(registry: Registry) -> Document:
    """GET /openapi/v3."""
    paths = {}
    for group, versions in registry.groups().items():
        for version in versions:
            name = f"apis/{group}/{version}" if group else f"api/{version}"
            paths[name] = {"serverRelativeURL": f"/openapi/v3/{name}?hash={registry.generation}"}
    return {"paths": paths}


def openapi_v3(registry: Registry, group: str, version: str) -> Document | None:
    """GET /openapi/v3/apis/GROUP/VERSION."""
    resources = registry.in_version(group, version)
    if resources is None:
        return None
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": VERSION["gitVersion"]},
        "paths": {resource_path(each): {"patch": _operation(each)} for each in resources if not each.virtual},
        "components": {"schemas": {}},
    }


def openapi_v2() -> Document:
    """GET /openapi/v2: valid but empty, because current clients use v3."""
    info = {"title": "Kubernetes", "version": VERSION["gitVersion"]}
    return {"swagger": "2.0", "info": info, "paths": {}, "definitions": {}}
