"""A small blocking HTTP client of an API server in another process, for tests."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

TIMEOUT = 15.0
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
PARTIAL_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said; ``headers`` are by names in lower case, those of one name joined by commas."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


class WatchStream:
    """The events of a watch; also a context manager that ends it."""

    def __init__(self, connection: HTTPSConnection, response: HTTPResponse) -> None:
        self._connection = connection
        self._response = response

    def next(self) -> tuple[str, Any]:
        """Type and object of the next event. Raises EOFError at the end of the watch."""
        line = self._response.readline()
        if not line:
            raise EOFError("the watch has ended")
        event = json.loads(line)
        return event["type"], event["object"]

    def rest(self) -> Iterator[tuple[str, Any]]:
        """All events up to the end."""
        while True:
            try:
                yield self.next()
            except EOFError:
                return

    def __enter__(self) -> WatchStream:
        return self

    def __exit__(self, *_: object) -> None:
        self._response.close()
        self._connection.close()


@dataclass(frozen=True, slots=True)
class Client:
    """Calls ``server``, an https URL, as whoever the certificate pair or the token is."""

    server: str
    ca: Path
    certificate: Path | None = None
    key: Path | None = None
    token: str = ""
    agent: str = "contract/1"
    _contexts: list[ssl.SSLContext] = field(default_factory=list)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        accept: str = "application/json",
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        **query: Any,
    ) -> Answer:
        """One request; ``body`` is sent as JSON unless it is bytes."""
        connection, response = self._send(method, path, body, accept, content_type, headers or {}, query)
        try:
            names = {name.lower() for name, _ in response.getheaders()}
            lines = {name: response.getheader(name, "") for name in names}
            return Answer(response.status, lines, response.read())
        finally:
            connection.close()

    def watch(self, path: str, *, accept: str = "application/json", **query: Any) -> WatchStream:
        """Begin a watch. Raises ValueError with the status when the server answers with another."""
        query = {"watch": "true", **query}
        connection, response = self._send("GET", path, None, accept, "", {}, query)
        if response.status != 200:
            body = response.read()
            connection.close()
            raise ValueError(response.status, json.loads(body))
        return WatchStream(connection, response)

    def _send(
        self,
        method: str,
        path: str,
        body: Any,
        accept: str,
        content_type: str,
        headers: Mapping[str, str],
        query: Mapping[str, object],
    ) -> tuple[HTTPSConnection, HTTPResponse]:
        sent = {"Accept": accept, "User-Agent": self.agent, **headers}
        if self.token:
            sent["Authorization"] = f"Bearer {self.token}"
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if raw is not None:
            sent["Content-Type"] = content_type
        at = urlsplit(self.server)
        connection = HTTPSConnection(at.hostname or "", at.port, timeout=TIMEOUT, context=self._context())
        connection.request(method, path + (f"?{urlencode(query)}" if query else ""), raw, sent)
        return connection, connection.getresponse()

    def _context(self) -> ssl.SSLContext:
        if not self._contexts:
            context = ssl.create_default_context(cafile=str(self.ca))
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
            self._contexts.append(context)
        return self._contexts[0]
