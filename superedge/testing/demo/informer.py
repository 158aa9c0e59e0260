"""A client as controllers and kubelets are: it lists, then watches, and watches again when a watch ends."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from pathlib import Path

RETRY = 0.3
"""Seconds before it asks again after a failure."""


class Informer(threading.Thread):
    """Knows the pods of a namespace, ``names``, as the API server at ``port`` shows them."""

    def __init__(self, port: int, ca: Path, certificate: Path, key: Path) -> None:
        super().__init__(daemon=True, name="informer")
        self._port = port
        self._context = ssl.create_default_context(cafile=str(ca))
        self._context.load_cert_chain(certificate, key)
        self._version = ""
        self.names: set[str] = set()
        self.lists = 0
        self.watches = 0

    def run(self) -> None:
        """Follow, until the process ends."""
        while True:
            try:
                if not self._version:
                    self._list()
                self._watch()
            except (OSError, http.client.HTTPException, ValueError):
                time.sleep(RETRY)

    def _ask(self, query: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPSConnection("127.0.0.1", self._port, context=self._context)
        connection.request(
            "GET", f"/api/v1/namespaces/default/pods{query}", headers={"Accept": "application/json"}
        )
        answer = connection.getresponse()
        if answer.status == 410:
            self._version = ""
        if answer.status != 200:
            raise ValueError(f"answered {answer.status}")
        return answer

    def _list(self) -> None:
        page = json.loads(self._ask("").read())
        self.names = {item["metadata"]["name"] for item in page["items"]}
        self._version = page["metadata"]["resourceVersion"]
        self.lists += 1

    def _watch(self) -> None:
        answer = self._ask(f"?watch=true&resourceVersion={self._version}&allowWatchBookmarks=true")
        self.watches += 1
        for line in answer:
            event = json.loads(line)
            if event["type"] == "ERROR":
                self._version = ""
                return
            meta = event["object"]["metadata"]
            self._version = meta["resourceVersion"]
            if event["type"] == "DELETED":
                self.names.discard(meta["name"])
            elif event["type"] != "BOOKMARK":
                self.names.add(meta["name"])
