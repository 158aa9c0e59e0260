"""The pods of a node, as a list that the API server itself answered has them. Pure."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from superedge.kube.errors import DecodeError
from superedge.kube.json import decode

CONFIG_HASH = "kubernetes.io/config.hash"
"""The annotation of a mirror pod with the uid that its static pod has for the kubelet and for CNI plugins."""


class PodName(NamedTuple):
    """The key of a pod."""

    namespace: str
    name: str


class _Metadata(msgspec.Struct):
    name: str
    namespace: str
    uid: str
    annotations: dict[str, str] | None = None


class _Spec(msgspec.Struct):
    nodeName: str = ""


class _Pod(msgspec.Struct):
    metadata: _Metadata
    spec: _Spec


class _ListMetadata(msgspec.Struct):
    token: str | None = msgspec.field(default=None, name="continue")


class _PodList(msgspec.Struct):
    kind: str
    items: list[_Pod]
    metadata: _ListMetadata


def read_pods(body: bytes, node: str) -> dict[PodName, frozenset[str]]:
    """The uids of each pod of ``node`` from a PodList in JSON. Raises DecodeError.

    A list that is not whole, or has a pod of another node, is refused: nothing follows from what it lacks.
    """
    found: _PodList = decode(_PodList, body)
    if found.kind != "PodList":
        raise DecodeError(f"not a PodList but {found.kind!r}")
    if found.metadata.token:
        raise DecodeError("the list of pods is not whole")
    pods = {}
    for pod in found.items:
        if pod.spec.nodeName != node:
            name = f"{pod.metadata.namespace}/{pod.metadata.name}"
            raise DecodeError(f"the list has the pod {name} of the node {pod.spec.nodeName!r}")
        uids = {pod.metadata.uid, (pod.metadata.annotations or {}).get(CONFIG_HASH, "")}
        pods[PodName(pod.metadata.namespace, pod.metadata.name)] = frozenset(uids - {""})
    return pods


class Reservation(NamedTuple):
    """A reservation of superedge-ipam whose pod has no sandbox now."""

    pod: PodName
    uid: str


def gone(
    reserved: set[Reservation], attached: set[PodName], pods: dict[PodName, frozenset[str]]
) -> set[Reservation]:
    """Reservations whose pods the list does not have, by uid where that is known. Raises DecodeError.

    A node that runs pods of which the list has none is not the one that the list is about.
    """
    if attached and not attached & pods.keys():
        raise DecodeError("the list has none of the pods that run here: is the node's name right?")
    return {
        each
        for each in reserved
        if each.pod not in pods or (each.uid and pods[each.pod] and each.uid not in pods[each.pod])
    }
