"""Defaults and validation of built-in objects. Pure.

It covers what clients rely on: phases, uids, addresses, and the checks that result in 422.
"""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from ipaddress import IPv4Network
from typing import Any

from superedge.testing.resources import Resource
from superedge.testing.status import bad_request, invalid

Object = dict[str, Any]

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_PATH_NAMED = frozenset({"roles", "rolebindings", "clusterroles", "clusterrolebindings"})
_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
SERVICE_NETWORK = IPv4Network("10.96.0.0/16")


def timestamp(now: float) -> str:
    """``metav1.Time`` of seconds since the epoch."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def check(resource: Resource, item: Object) -> None:
    """Raise APIError 422 for an object that kube-apiserver would refuse."""
    metadata = item["metadata"]
    name = metadata.get("name") or ""
    if not name:
        problem = "Required value: name or generateName is required"
        raise invalid(resource.group, resource.kind, "", "metadata.name", problem, "FieldValueRequired")
    if resource.plural not in _PATH_NAMED and not (len(name) <= 253 and _SUBDOMAIN.fullmatch(name)):
        problem = f'Invalid value: "{name}": {_RULE}'
        raise invalid(resource.group, resource.kind, name, "metadata.name", problem, "FieldValueInvalid")
    for field in ("labels", "annotations"):
        values = metadata.get(field)
        if values is not None and not _is_text_map(values):
            raise bad_request(
                f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
                f"metadata.{field} must be a map of strings"
            )
    if resource.plural == "pods" and not resource.group:
        _check_pod(resource, item, name)
    if resource.plural == "customresourcedefinitions":
        _check_definition(resource, item, name)


def _is_text_map(values: Any) -> bool:
    return isinstance(values, dict) and all(isinstance(value, str) for value in values.values())


def _check_pod(resource: Resource, item: Object, name: str) -> None:
    if not (item.get("spec") or {}).get("containers"):
        raise invalid("", resource.kind, name, "spec.containers", "Required value", "FieldValueRequired")


def _check_definition(resource: Resource, item: Object, name: str) -> None:
    spec = item.get("spec") or {}
    for path in (("group",), ("names", "plural"), ("names", "kind"), ("scope",), ("versions",)):
        value: Any = spec
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        if not value:
            field = ".".join(("spec", *path))
            raise invalid(resource.group, resource.kind, name, field, "Required value", "FieldValueRequired")
    expected = f"{spec['names']['plural']}.{spec['group']}"
    if name != expected:
        problem = f'Invalid value: "{name}": must be spec.names.plural+"."+spec.group'
        raise invalid(resource.group, resource.kind, name, "metadata.name", problem, "FieldValueInvalid")


def prepare(resource: Resource, item: Object, revision: int, now: float) -> None:
    """Set the defaults of a new object in place; ``revision`` determines its addresses."""
    if resource.group == "apiextensions.k8s.io":
        _prepare_definition(item, now)
        return
    if resource.status and (resource.custom or resource.group):
        item.pop("status", None)
        if not resource.custom:
            item["status"] = {}
    if resource.group:
        return
    if resource.plural == "pods":
        _prepare_pod(item)
    elif resource.plural == "namespaces":
        item.setdefault("spec", {})["finalizers"] = ["kubernetes"]
        item["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = item["metadata"]["name"]
        item["status"] = {"phase": "Active"}
    elif resource.plural == "services":
        _prepare_service(item, revision)
    elif resource.plural == "secrets":
        item.setdefault("type", "Opaque")
        _encode_secret(item)
    elif resource.plural == "nodes":
        item.setdefault("spec", {})
        item.setdefault("status", {})


def _prepare_pod(item: Object) -> None:
    spec = item["spec"]
    for key, value in {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "serviceAccountName": "default",
        "serviceAccount": "default",
        "securityContext": {},
        "schedulerName": "default-scheduler",
        "enableServiceLinks": True,
    }.items():
        spec.setdefault(key, value)
    for container in spec["containers"]:
        container.setdefault("resources", {})
        container.setdefault("imagePullPolicy", "IfNotPresent")
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("terminationMessagePolicy", "File")
        for port in container.get("ports", ()):
            port.setdefault("protocol", "TCP")
    item["status"] = {"phase": "Pending", "qosClass": "BestEffort"}


def _prepare_service(item: Object, revision: int) -> None:
    spec = item.setdefault("spec", {})
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    for port in spec.get("ports", ()):
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port.get("port"))
    if spec["type"] != "ExternalName":
        address = str(SERVICE_NETWORK[10 + revision % (SERVICE_NETWORK.num_addresses - 20)])
        spec.setdefault("clusterIP", address)
        spec.setdefault("clusterIPs", [spec["clusterIP"]])
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        spec.setdefault("internalTrafficPolicy", "Cluster")
    item["status"] = {"loadBalancer": {}}


def _encode_secret(item: Object) -> None:
    plain = item.pop("stringData", None)
    if plain:
        data = item.setdefault("data", {})
        data.update({key: base64.b64encode(value.encode()).decode() for key, value in plain.items()})


def _prepare_definition(item: Object, now: float) -> None:
    spec = item["spec"]
    names = spec["names"]
    names.setdefault("singular", names["kind"].lower())
    names.setdefault("listKind", f"{names['kind']}List")
    since = timestamp(now)
    conditions = [
        {
            "type": kind,
            "status": "True",
            "lastTransitionTime": since,
            "reason": reason,
            "message": message,
        }
        for kind, reason, message in (
            ("NamesAccepted", "NoConflicts", "no conflicts found"),
            ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        )
    ]
    stored = [version["name"] for version in spec["versions"] if version.get("storage")]
    item["status"] = {"conditions": conditions, "acceptedNames": names, "storedVersions": stored}
