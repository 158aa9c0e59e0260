"""What the controller applies: a site's workload, and the Service of a ServiceGrid. Pure.

Templates are shared by all sites, and none is changed here.
"""

from __future__ import annotations

import json
from typing import Any

from superedge.grid.cloud.children import Child
from superedge.grid.cloud.differences import satisfied
from superedge.grid.cloud.grids import Grid, Template
from superedge.grid.cloud.kinds import API_VERSION
from superedge.grid.cloud.naming import child_name, key_label
from superedge.grid.names import GRID_SELECTOR, GRID_SITE, GRID_UNIQ_KEY, TEMPLATE_HASH, TOPOLOGY_KEYS

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
Object = dict[str, Any]


def workload_name(grid: Grid, site: str) -> str:
    """The name of a site's workload."""
    return child_name(grid.key.name, site, grid.kind.limit, grid.kind.dots)


def service_name(grid: Grid) -> str:
    """The name of a ServiceGrid's Service."""
    return f"{grid.key.name}-svc"


def workload(grid: Grid, site: str, template: Template, child: Child | None) -> Object:
    """A site's Deployment or StatefulSet; ``child`` is what there is of it.

    A selector cannot be changed: that of ``child`` is kept. The label of the site among its pods' labels
    would replace all pods of a workload that another controller made; it comes with the next change of the
    template that replaces them anyway.
    """
    wanted = _workload(grid, site, template, child, label_pods=True)
    if child is None or child.distinct or GRID_SITE in child.pod_labels:
        return wanted
    unlabelled = _workload(grid, site, template, child, label_pods=False)
    same = satisfied(unlabelled["spec"]["template"], child.whole()["spec"]["template"])
    return unlabelled if same else wanted


def _workload(grid: Grid, site: str, template: Template, child: Child | None, label_pods: bool) -> Object:
    spec = dict(template.spec)
    pod = dict(spec.get("template") or {})
    if label_pods:
        metadata = dict(pod.get("metadata") or {})
        metadata["labels"] = {**(metadata.get("labels") or {}), GRID_SITE: site}
        pod["metadata"] = metadata
    pod_spec = dict(pod.get("spec") or {})
    pod_spec["nodeSelector"] = {**(pod_spec.get("nodeSelector") or {}), grid.site_key: site}
    pod["spec"] = pod_spec
    spec["template"] = pod
    spec["selector"] = child.selector if child is not None else selector(template, site)
    if child is not None:
        if child.scaler:
            spec.pop("replicas", None)
        elif "replicas" not in spec:
            # An owner that lets go of replicas sets it to 1.
            spec["replicas"] = child.replicas
    found = _object(grid, workload_name(grid, site), {GRID_SITE: site}, {TEMPLATE_HASH: template.hash})
    return {**found, "spec": spec}


def selector(template: Template, site: str) -> Object:
    """The selector of a site's workload: the template's, for the pods of the site alone."""
    given = template.spec.get("selector") or {}
    return {**given, "matchLabels": {**(given.get("matchLabels") or {}), GRID_SITE: site}}


def service(grid: Grid) -> Object:
    """The Service of a ServiceGrid."""
    template = grid.template("default")
    assert template is not None
    notes = {key: value for key, value in grid.annotations.items() if key != _LAST_APPLIED}
    notes |= {TOPOLOGY_KEYS: json.dumps([grid.site_key]), TEMPLATE_HASH: template.hash}
    return {**_object(grid, service_name(grid), {}, notes), "spec": template.spec}


def _object(grid: Grid, name: str, labels: dict[str, str], annotations: dict[str, str]) -> Object:
    kind, key = grid.kind, grid.key
    return {
        "apiVersion": kind.child_version,
        "kind": kind.child,
        "metadata": {
            "name": name,
            "namespace": key.namespace,
            "labels": {
                **grid.labels,
                **labels,
                GRID_SELECTOR: key.name,
                GRID_UNIQ_KEY: key_label(grid.site_key),
            },
            "annotations": {**annotations, GRID_UNIQ_KEY: grid.site_key},
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION,
                    "kind": key.kind,
                    "name": key.name,
                    "uid": grid.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
    }
