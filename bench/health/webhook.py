"""The webhook over TLS, asked at a steady rate: the server in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater, react

from superedge.config.addresses import TCPAddress
from superedge.health.cloud.admission.serving import make_pair
from superedge.kube.access import Access
from superedge.kube.client import KubeClient
from superedge.tls.contexts import ClientContextSource

SERVER = """
import sys
from pathlib import Path
from twisted.internet import reactor
from superedge.health.cloud.admission.serving import Pair
from superedge.health.cloud.admission.webhook import Webhook
directory = Path(sys.argv[1])
names = ("ca.crt", "ca.key", "tls.crt", "tls.key")
webhook = Webhook(reactor, "127.0.0.1:0", {f"edge-{n}": 4e9 for n in range(1000)})
webhook.startService()
webhook.serve_with(Pair(*((directory / name).read_bytes() for name in names)).context())
print(webhook.address.port, flush=True)
reactor.run()
"""
TAINT = {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "timeAdded": "2026-11-28T00:00:00Z"}


def _review(number: int) -> dict[str, Any]:
    """A Node of the usual size, 12 kB."""
    images = [{"names": [f"registry.example/image-{n}@sha256:{'0' * 64}"], "sizeBytes": n} for n in range(80)]
    node = {
        "metadata": {"name": f"edge-{number % 1000}"},
        "spec": {"taints": [TAINT]},
        "status": {"images": images},
    }
    resource = {"group": "", "version": "v1", "resource": "nodes"}
    return {"request": {"uid": str(number), "resource": resource, "object": node, "oldObject": node}}


def percentiles(rate: int, seconds: float) -> tuple[float, float]:
    """p50 and p99 of the answers' times, seconds."""
    directory = Path(tempfile.mkdtemp(prefix="superedge-bench-"))
    pair = make_pair(["localhost"], None, datetime.now(UTC))
    for name, content in zip(("ca.crt", "ca.key", "tls.crt", "tls.key"), pair, strict=True):
        (directory / name).write_bytes(content)
    command = [sys.executable, "-c", SERVER, str(directory)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    port = int(server.stdout.readline())
    times: list[float] = []

    async def ask(reactor: Any) -> None:
        access = Access(
            TCPAddress("127.0.0.1", port),
            ClientContextSource([directory / "ca.crt"]),
            server_name="localhost",
        )
        client = KubeClient(reactor, access)

        async def one(number: int) -> None:
            body = _review(number)
            await deferLater(reactor, number / rate)
            started = reactor.seconds()
            answer = await client.call("POST", "/keep", body=body)
            if number >= rate:  # the first second warms both up
                times.append(reactor.seconds() - started)
            assert "patch" in json.loads(answer)["response"]

        await gatherResults([Deferred.fromCoroutine(one(n)) for n in range(int(rate * seconds))])
        client.close()

    try:
        react(lambda reactor: Deferred.fromCoroutine(ask(reactor)))
    except SystemExit as end:
        if end.code:
            raise
    finally:
        server.kill()
    times.sort()
    return times[len(times) // 2], times[int(len(times) * 0.99)]
