"""The webhook's answers, by the same rule as deploy/kubernetes/health-policy.yaml. Pure.

Source: Kubernetes API, AdmissionReview v1; RFC 6902.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import msgspec

from superedge.errors import SuperEdgeError
from superedge.health.cloud.cluster import NO_EXECUTE, UNREACHABLE
from superedge.kube.times import read_time


class ReviewError(SuperEdgeError):
    """A body that is not an AdmissionReview."""


class _Resource(msgspec.Struct):
    resource: str = ""


class _Taint(msgspec.Struct):
    key: str = ""
    effect: str = ""
    timeAdded: str | None = None


class _Condition(msgspec.Struct):
    type: str = ""
    status: str = ""
    lastTransitionTime: str | None = None


class _Metadata(msgspec.Struct):
    name: str = ""


class _Spec(msgspec.Struct):
    taints: list[_Taint] | None = None
    nodeName: str = ""


class _Status(msgspec.Struct):
    conditions: list[_Condition] | None = None


class _Object(msgspec.Struct):
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)
    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status = msgspec.field(default_factory=_Status)


class _Request(msgspec.Struct):
    uid: str
    resource: _Resource = msgspec.field(default_factory=_Resource)
    subResource: str = ""
    object: _Object | None = None
    oldObject: _Object | None = None


class _Review(msgspec.Struct):
    request: _Request


_decoder = msgspec.json.Decoder(_Review)

Patch = list[dict[str, Any]]


def answer(body: bytes, kept: Mapping[str, float]) -> tuple[bytes, bool]:
    """The response's body for a request's, and whether it changes the object. Raises ReviewError.

    ``kept``: nodes, and until when they are kept, seconds since 1970.
    """
    try:
        request = _decoder.decode(body).request
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
        raise ReviewError(f"not an AdmissionReview: {problem}") from problem
    patch: Patch = []
    if request.object is not None:
        if (request.resource.resource, request.subResource) == ("nodes", ""):
            patch = _node(request.object, kept)
        elif (request.resource.resource, request.subResource) == ("pods", "status"):
            patch = _pod(request.object, request.oldObject, kept)
    response: dict[str, Any] = {"uid": request.uid, "allowed": True}
    if patch:
        response["patchType"] = "JSONPatch"
        response["patch"] = b64encode(msgspec.json.encode(patch)).decode()
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
    return msgspec.json.encode(review), bool(patch)


def _before(text: str | None, until: float | None) -> bool:
    moment = read_time(text or "")
    return moment is not None and until is not None and moment < until


def _node(node: _Object, kept: Mapping[str, float]) -> Patch:
    """Remove the taint, if it was added before the node's entry expires."""
    until = kept.get(node.metadata.name)
    found = [
        at
        for at, taint in enumerate(node.spec.taints or ())
        if (taint.key, taint.effect) == (UNREACHABLE, NO_EXECUTE) and _before(taint.timeAdded, until)
    ]
    return [{"op": "remove", "path": f"/spec/taints/{at}"} for at in reversed(found)]


def _pod(pod: _Object, before: _Object | None, kept: Mapping[str, float]) -> Patch:
    """Keep a Ready pod Ready, if the change was made before its node's entry expires."""
    until = kept.get(pod.spec.nodeName)
    was = _ready(before) if before is not None else None
    if was is None or was[1].status != "True":
        return []
    found = _ready(pod)
    if found is None or found[1].status != "False" or not _before(found[1].lastTransitionTime, until):
        return []
    path = f"/status/conditions/{found[0]}"
    return [
        {"op": "replace", "path": f"{path}/status", "value": "True"},
        {"op": "replace", "path": f"{path}/lastTransitionTime", "value": was[1].lastTransitionTime},
    ]


def _ready(pod: _Object) -> tuple[int, _Condition] | None:
    conditions = enumerate(pod.status.conditions or ())
    return next(((at, each) for at, each in conditions if each.type == "Ready"), None)
