"""Parses label and field selectors into predicates over objects. Pure.

Sources: Kubernetes "Labels and Selectors" and "Field Selectors".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from superedge.kube.errors import SelectorError
from superedge.kube.selectors import parse_label_selector
from superedge.testing.resources import Resource
from superedge.testing.status import bad_request

Predicate = Callable[[dict[str, Any]], bool]

_FIELDS: dict[tuple[str, str], dict[str, Any]] = {
    ("", "pods"): {
        "spec.nodeName": "",
        "spec.restartPolicy": "Always",
        "spec.schedulerName": "default-scheduler",
        "spec.serviceAccountName": "",
        "spec.hostNetwork": False,
        "status.phase": "",
        "status.podIP": "",
        "status.nominatedNodeName": "",
    },
    ("", "nodes"): {"spec.unschedulable": False},
    ("", "namespaces"): {"status.phase": ""},
    ("", "secrets"): {"type": ""},
    ("", "events"): {
        **{
            f"involvedObject.{name}": ""
            for name in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
        },
        "reason": "",
        "reportingComponent": "",
        "source": "",
        "type": "",
    },
    ("", "services"): {"spec.clusterIP": "", "spec.type": ""},
}


def label_selector(text: str) -> Predicate | None:
    """A predicate for ``labelSelector``, None for an empty one. Raises APIError 400."""
    try:
        wanted = parse_label_selector(text)
    except SelectorError as problem:
        raise bad_request(str(problem)) from problem
    if wanted is None:
        return None
    return lambda item: wanted(item["metadata"].get("labels") or {})


def field_selector(resource: Resource, text: str) -> Predicate | None:
    """A predicate for ``fieldSelector``, None for an empty one. Raises APIError 400."""
    if not text:
        return None
    known = {"metadata.name": "", "metadata.namespace": ""}
    known |= _FIELDS.get((resource.group, resource.plural), {})
    tests: list[tuple[list[str], bool, str, Any]] = []
    for term in text.split(","):
        match = re.fullmatch(r"([^=!]+)(==|!=|=)(.*)", term)
        if match is None:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{term}'")
        path, operator, value = match.groups()
        if path not in known:
            raise bad_request(
                f'Unable to find "{resource.api_version}, Resource={resource.plural}" that match label '
                f'selector "", field selector "{text}": field label not supported: {path}'
            )
        tests.append((path.split("."), operator != "!=", value, known[path]))

    def matches(item: dict[str, Any]) -> bool:
        return all((_field(item, path, default) == value) is equal for path, equal, value, default in tests)

    return matches


def _field(item: dict[str, Any], path: list[str], default: Any) -> str:
    value: Any = item
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    if value is None:
        value = default
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value.get("component", "")) if isinstance(value, dict) else str(value)


def single_name(text: str) -> str | None:
    """NAME, if the selector is ``metadata.name=NAME``."""
    for term in text.split(","):
        key, found, value = term.replace("==", "=").partition("=")
        if found and key == "metadata.name":
            return value
    return None


def both(first: Predicate | None, second: Predicate | None) -> Predicate | None:
    """The conjunction of two predicates; None selects everything."""
    if first is None or second is None:
        return first or second
    return lambda item: first(item) and second(item)
