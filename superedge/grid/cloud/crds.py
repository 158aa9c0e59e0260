"""The CRDs of the three kinds; as a program it prints them as a manifest. Pure."""

from __future__ import annotations

import sys
from typing import Any

import yaml

from superedge.grid.cloud.kinds import DEPLOYMENT_GRID, KINDS, SERVICE_GRID, STATEFULSET_GRID, Kind
from superedge.grid.cloud.schema import schema_of
from superedge.grid.cloud.types import (
    ServiceGridSpec,
    ServiceGridStatus,
    WorkloadGridSpec,
    WorkloadGridStatus,
)
from superedge.grid.names import GROUP, VERSION

_DEGRADED = '.status.conditions[?(@.type=="Degraded")]'
_READY = '.status.conditions[?(@.type=="Ready")]'
_AGE = ("Age", "date", ".metadata.creationTimestamp", 0)
_WORKLOAD_COLUMNS = (
    ("Key", "string", ".spec.gridUniqKey", 0),
    ("Sites", "integer", ".status.sites", 0),
    ("Updated", "integer", ".status.updatedSites", 0),
    ("Ready", "integer", ".status.readySites", 0),
    ("Degraded", "string", f"{_DEGRADED}.status", 0),
    _AGE,
    ("Rollout", "string", '.status.conditions[?(@.type=="Progressing")].reason', 1),
    ("Message", "string", f"{_DEGRADED}.message", 1),
)
_SERVICE_COLUMNS = (
    ("Key", "string", ".spec.gridUniqKey", 0),
    ("Service", "string", ".status.service", 0),
    ("Cluster-IP", "string", ".status.clusterIP", 0),
    ("Ready", "string", f"{_READY}.status", 0),
    _AGE,
    ("Message", "string", f"{_READY}.message", 1),
)
_SHORT_NAME = {
    "rule": "self.metadata.name.size() <= 63",
    "message": "the name must have at most 63 characters: it is the value of a label",
}
_SERVICE_NAME = {
    "rule": "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,57}[a-z0-9])?$')",
    "message": "the name must have at most 59 characters and no dots: the Service's name is this and -svc",
}
_ABOUT = {
    DEPLOYMENT_GRID: "DeploymentGrid runs a Deployment at each site.",
    STATEFULSET_GRID: "StatefulSetGrid runs a StatefulSet at each site.",
    SERVICE_GRID: "ServiceGrid makes a Service whose traffic stays inside the caller's site.",
}


def crds() -> list[dict[str, Any]]:
    """The three objects."""
    return [_crd(kind) for kind in KINDS]


def _crd(kind: Kind) -> dict[str, Any]:
    service = kind is SERVICE_GRID
    spec, status = (ServiceGridSpec, ServiceGridStatus) if service else (WorkloadGridSpec, WorkloadGridStatus)
    columns = _SERVICE_COLUMNS if service else _WORKLOAD_COLUMNS
    schema = {
        "description": _ABOUT[kind],
        "type": "object",
        "required": ["spec"],
        "x-kubernetes-validations": [_SERVICE_NAME if service else _SHORT_NAME],
        "properties": {
            "apiVersion": {"type": "string", "description": f"{GROUP}/{VERSION}"},
            "kind": {"type": "string", "description": kind.name},
            "metadata": {"type": "object"},
            "spec": {"description": "What is wanted.", **_named(schema_of(spec), kind.child)},
            "status": {"description": "What is.", **_named(schema_of(status), kind.child)},
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.name.lower(),
                "shortNames": [kind.short],
                "categories": ["all"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [
                        {"name": name, "type": type_, "jsonPath": path, "priority": priority}
                        for name, type_, path, priority in columns
                    ],
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


def _named(schema: Any, child: str) -> Any:
    """The schema with the child's kind in its descriptions."""
    if isinstance(schema, dict):
        return {
            key: value.replace("{child}", child)
            if key == "description" and isinstance(value, str)
            else _named(value, child)
            for key, value in schema.items()
        }
    return [_named(each, child) for each in schema] if isinstance(schema, list) else schema


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def manifest() -> str:
    """The three as YAML."""
    head = (
        "# The kinds of the application grid: DeploymentGrid (dg), StatefulSetGrid (ssg), ServiceGrid (sg).\n"
        "# Generated: make docs\n"
    )
    documents = [yaml.dump(each, Dumper=_Dumper, sort_keys=False, width=110) for each in crds()]
    return head + "---\n".join(documents)


if __name__ == "__main__":
    sys.stdout.write(manifest())
