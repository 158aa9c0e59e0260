"""Installs the CRDs, and brings older ones up to date."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from superedge.grid.cloud.crds import crds
from superedge.grid.cloud.naming import digest
from superedge.kube.client import IKubeClient, Problems, Resource
from superedge.kube.errors import APIError
from superedge.kube.json import decode

CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions")
SCHEMA = "superedge.io/schema"
"""Annotation of a CRD: the hash of what was installed."""
TRY_AGAIN = 5.0
LOOK_AGAIN = 0.1

_log = Logger()


async def install(reactor: IReactorTime, client: IKubeClient) -> None:
    """Return when all are there, up to date and served. Tries until then, and logs why it has to."""
    for crd in crds():
        said = ""
        while True:
            try:
                served = await _install(client, crd)
            except Problems as problem:
                if str(problem) != said:
                    said = str(problem)
                    _log.warn("CRD {name}: {problem}", name=crd["metadata"]["name"], problem=said)
                await deferLater(reactor, TRY_AGAIN)
            else:
                if served:
                    break
                await deferLater(reactor, LOOK_AGAIN)


async def _install(client: IKubeClient, crd: dict[str, Any]) -> bool:
    """Write a CRD unless it is as it is to be. Whether it is served."""
    name = crd["metadata"]["name"]
    stamp = digest(msgspec.json.encode(crd["spec"], order="sorted"))
    try:
        there = decode(dict, await client.call("GET", CRDS.path(name=name)))
    except APIError as problem:
        if problem.code != 404:
            raise
        body = {**crd, "metadata": {"name": name, "annotations": {SCHEMA: stamp}}}
        await client.call("POST", CRDS.path(), body=body)
        _log.info("CRD {name} is installed", name=name)
        return False
    metadata = there["metadata"]
    notes = metadata.get("annotations") or {}
    if notes.get(SCHEMA) == stamp:
        conditions = {each["type"]: each["status"] for each in there.get("status", {}).get("conditions", [])}
        return conditions.get("Established") == "True"
    # Whole, and not by server-side apply, which would leave an older schema's fields among the new ones.
    body = {**there, "spec": crd["spec"], "metadata": {**metadata, "annotations": {**notes, SCHEMA: stamp}}}
    await client.call("PUT", CRDS.path(name=name), body=body)
    _log.info("CRD {name} is brought up to date", name=name)
    return False
