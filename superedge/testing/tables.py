"""Encodes `meta.k8s.io/v1 Table`, which ``kubectl get`` prints. Pure: time is an argument."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from superedge.kube.age import age as kube_age
from superedge.testing.resources import Resource

Object = dict[str, Any]
Row = list[Any]


def _column(name: str, kind: str = "string", form: str = "", priority: int = 0) -> dict[str, Any]:
    return {"name": name, "type": kind, "format": form, "description": name, "priority": priority}


def _columns(*names: str, wide: Iterable[str] = ()) -> list[dict[str, Any]]:
    first = [_column(name, form="name" if name == "Name" else "") for name in names]
    return [*first, *(_column(name, priority=1) for name in wide)]


def age(item: Object, now: float, field: str = "creationTimestamp") -> str:
    """A duration such as ``5m10s``, as kubectl prints it."""
    return kube_age(item["metadata"].get(field), now)


def _pod(item: Object, now: float) -> Row:
    spec, status = item.get("spec", {}), item.get("status", {})
    states = status.get("containerStatuses", [])
    ready = sum(bool(state.get("ready")) for state in states)
    phase = status.get("reason") or status.get("phase", "")
    for state in states:
        reason = (state.get("state", {}).get("waiting") or {}).get("reason")
        phase = reason or phase
    if item["metadata"].get("deletionTimestamp"):
        phase = "Terminating"
    restarts = sum(state.get("restartCount", 0) for state in states)
    return [
        item["metadata"]["name"],
        f"{ready}/{len(spec.get('containers', []))}",
        phase,
        str(restarts),
        age(item, now),
        status.get("podIP") or "<none>",
        spec.get("nodeName") or "<none>",
        status.get("nominatedNodeName") or "<none>",
        "<none>",
    ]


def _node(item: Object, now: float) -> Row:
    status, metadata = item.get("status", {}), item["metadata"]
    ready = next((c["status"] for c in status.get("conditions", ()) if c["type"] == "Ready"), "Unknown")
    state = {"True": "Ready", "False": "NotReady"}.get(ready, "Unknown")
    if item.get("spec", {}).get("unschedulable"):
        state += ",SchedulingDisabled"
    prefix = "node-role.kubernetes.io/"
    roles = sorted(label[len(prefix) :] for label in metadata.get("labels") or () if label.startswith(prefix))
    addresses = {address["type"]: address["address"] for address in status.get("addresses", ())}
    info = status.get("nodeInfo", {})
    return [
        metadata["name"],
        state,
        ",".join(roles) or "<none>",
        age(item, now),
        info.get("kubeletVersion", ""),
        addresses.get("InternalIP", "<none>"),
        addresses.get("ExternalIP", "<none>"),
        info.get("osImage") or "<unknown>",
        info.get("kernelVersion") or "<unknown>",
        info.get("containerRuntimeVersion") or "<unknown>",
    ]


def _service(item: Object, now: float) -> Row:
    spec = item.get("spec", {})
    ports = ",".join(f"{port['port']}/{port.get('protocol', 'TCP')}" for port in spec.get("ports", ()))
    selector = ",".join(f"{key}={value}" for key, value in (spec.get("selector") or {}).items())
    return [
        item["metadata"]["name"],
        spec.get("type", "ClusterIP"),
        spec.get("clusterIP") or "<none>",
        ",".join(spec.get("externalIPs", ())) or "<none>",
        ports or "<none>",
        age(item, now),
        selector or "<none>",
    ]


def _deployment(item: Object, now: float) -> Row:
    status = item.get("status", {})
    wanted = item.get("spec", {}).get("replicas", 1)
    return [
        item["metadata"]["name"],
        f"{status.get('readyReplicas', 0)}/{wanted}",
        status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0),
        age(item, now),
    ]


def _namespace(item: Object, now: float) -> Row:
    return [item["metadata"]["name"], item.get("status", {}).get("phase", ""), age(item, now)]


def _configmap(item: Object, now: float) -> Row:
    data = len(item.get("data") or ()) + len(item.get("binaryData") or ())
    return [item["metadata"]["name"], data, age(item, now)]


def _secret(item: Object, now: float) -> Row:
    return [item["metadata"]["name"], item.get("type", ""), len(item.get("data") or ()), age(item, now)]


def _event(item: Object, now: float) -> Row:
    about = item.get("involvedObject", {})
    return [
        age(item, now),
        item.get("type", ""),
        item.get("reason", ""),
        f"{about.get('kind', '').lower()}/{about.get('name', '')}",
        item.get("message", ""),
    ]


_PRINTERS: dict[tuple[str, str], tuple[list[dict[str, Any]], Callable[[Object, float], Row]]] = {
    ("", "pods"): (
        _columns(
            "Name",
            "Ready",
            "Status",
            "Restarts",
            "Age",
            wide=("IP", "Node", "Nominated Node", "Readiness Gates"),
        ),
        _pod,
    ),
    ("", "nodes"): (
        _columns(
            "Name",
            "Status",
            "Roles",
            "Age",
            "Version",
            wide=("Internal-IP", "External-IP", "OS-Image", "Kernel-Version", "Container-Runtime"),
        ),
        _node,
    ),
    ("", "services"): (
        _columns("Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", wide=("Selector",)),
        _service,
    ),
    ("apps", "deployments"): (
        _columns("Name", "Ready", "Up-to-date", "Available", "Age"),
        _deployment,
    ),
    ("", "namespaces"): (_columns("Name", "Status", "Age"), _namespace),
    ("", "configmaps"): (_columns("Name", "Data", "Age"), _configmap),
    ("", "secrets"): (_columns("Name", "Type", "Data", "Age"), _secret),
    ("", "events"): (_columns("Last Seen", "Type", "Reason", "Object", "Message"), _event),
}


_STEPS = re.compile(r"""\.([\w-]+)|\[(\d+)\]|\[\?\(@\.([\w-]+)==["']([^"']*)["']\)\]""")


def _path(item: Any, path: str) -> Any:
    """The value at a simple JSONPath: fields, list indexes, and the first item with a field of some text."""
    for name, index, field, text in _STEPS.findall(path):
        if field:
            items = item if isinstance(item, list) else []
            item = next((each for each in items if isinstance(each, dict) and each.get(field) == text), None)
        elif index:
            item = item[int(index)] if isinstance(item, list) and int(index) < len(item) else None
        else:
            item = item.get(name) if isinstance(item, dict) else None
    return item


def columns(resource: Resource) -> list[dict[str, Any]]:
    """The column definitions for ``kubectl get`` of this resource."""
    printer = _PRINTERS.get((resource.group, resource.plural))
    if printer:
        return printer[0]
    if resource.columns:
        extra = [
            {
                "name": each.name, "type": each.type, "format": each.format,
                "description": each.description, "priority": each.priority,
            }
            for each in resource.columns
        ]  # fmt: skip
        return [*_columns("Name"), *extra]
    return _columns("Name", "Age")


def row(resource: Resource, item: Object, now: float, include: str) -> dict[str, Any]:
    """One row; ``include`` (None, Metadata or Object) is the part of the object in it."""
    printer = _PRINTERS.get((resource.group, resource.plural))
    cells: Row
    if printer:
        cells = printer[1](item, now)
    elif resource.columns:
        cells = [item["metadata"]["name"]]
        for column in resource.columns:
            value = _path(item, column.path)
            if column.type == "date" and value:
                value = age({"metadata": {"creationTimestamp": value}}, now)
            cells.append(value)
    else:
        cells = [item["metadata"]["name"], age(item, now)]
    if include == "None":
        return {"cells": cells}
    return {"cells": cells, "object": item if include == "Object" else partial(item)}


def partial(item: Object) -> Object:
    """`PartialObjectMetadata` of an object."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": item["metadata"],
    }


def table(rows: list[dict[str, Any]], definitions: list[dict[str, Any]], metadata: Object) -> Object:
    """The whole table."""
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": definitions,
        "rows": rows,
    }
