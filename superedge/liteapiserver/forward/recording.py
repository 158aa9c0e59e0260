"""What one exchange gives the cache: its response, an auth request's body, the options of a deletion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from superedge.kube.deletion import is_dry_run
from superedge.liteapiserver.access.authrequests import AuthRequestRecorder
from superedge.liteapiserver.access.credentials import ANONYMOUS

if TYPE_CHECKING:
    from superedge.liteapiserver.access.authrequests import AuthRequests
    from superedge.liteapiserver.access.caller import Caller
    from superedge.liteapiserver.cache.cache import Cache
    from superedge.liteapiserver.cache.recorders import Recorder
    from superedge.liteapiserver.forward.incoming import IncomingRequest

MAX_OPTIONS = 64 * 1024
"""Bytes of the longest DeleteOptions that are read."""


class ExchangeRecording:
    """Made before the request is sent, since it notes which versions the cache knows by then."""

    __slots__ = (
        "_baseline",
        "_cache",
        "_caller",
        "_chunks",
        "_info",
        "_options",
        "_recorder",
        "auth_request",
    )

    def __init__(
        self, cache: Cache, auth_requests: AuthRequests, incoming: IncomingRequest, caller: Caller
    ) -> None:
        info = incoming.info
        self._cache = cache
        self._caller = caller
        self._info = info
        self._baseline = cache.baseline(caller.identity, info)
        self._recorder: Recorder | None = None
        self._chunks: list[bytes] = []
        """What the recorder gets after the client got it."""
        self.auth_request: AuthRequestRecorder | None = None
        """Follows the body of an auth request and the answer to it."""
        if incoming.is_auth_request and caller.is_known and caller.identity != ANONYMOUS:
            self.auth_request = AuthRequestRecorder(auth_requests, caller.identity, info)
        self._options: bytearray | None = bytearray() if info.verb in ("delete", "deletecollection") else None
        """The body of a deletion so far; None when it is too long."""

    def request_data(self, data: bytes) -> None:
        """Take some of the request's body."""
        if self.auth_request is not None:
            self.auth_request.body.add(data)
        if self._options is not None:
            self._options += data
            if len(self._options) > MAX_OPTIONS:
                self._options = None

    def request_complete(self) -> None:
        """The request's body is whole."""
        if self.auth_request is not None:
            self.auth_request.whole = True

    def response(self, status: int, noted: dict[bytes, bytes], believed: bool) -> None:
        """Choose a recorder; ``noted`` are the response's headers as `split_headers` gives them.

        A 403 counts only if it is ``believed``: a server that is not ready, or that ignored the credentials
        and answers a stranger, must not take from the identity what it may read.
        """
        info, caller = self._info, self._caller
        content_type = noted.get(b"content-type", b"")
        audited = b"audit-id" in noted
        if self.auth_request is not None and audited:
            self.auth_request.answered(status, content_type)
        if info.is_read and caller.is_known and (believed or status != 403):
            encoding, etag = noted.get(b"content-encoding", b""), noted.get(b"etag", b"")
            self._recorder = self._cache.record(
                caller.identity, info, status, content_type, encoding, etag, audited, self._baseline
            )
        elif status < 300 and caller.is_known and not info.opaque:
            encoding = noted.get(b"content-encoding", b"")
            self._recorder = self._cache.record_write(
                caller.identity, info, content_type, encoding, self._baseline, self._is_dry_run
            )

    def _is_dry_run(self) -> bool:
        """Whether a deletion's body says that nothing is to be deleted, or is too long to tell."""
        if self._info.verb not in ("delete", "deletecollection"):
            return False
        return self._options is None or is_dry_run(bytes(self._options))

    def data(self, chunks: list[bytes]) -> None:
        """Take some of the response's body."""
        if self._recorder is not None:
            self._chunks += chunks
        if self.auth_request is not None:
            self.auth_request.data(chunks)

    def flush(self) -> None:
        """Give the recorder what came since the last call."""
        if self._recorder is not None and self._chunks:
            chunks, self._chunks = self._chunks, []
            self._recorder.data(chunks)

    @property
    def resumable(self) -> bool:
        """Whether a client whose response ends here can go on from what it has."""
        return self._recorder is not None and self._recorder.resumable

    def complete(self) -> None:
        """The response is whole."""
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            if self._chunks:
                recorder.data(self._chunks)
            recorder.complete()
        if self.auth_request is not None:
            self.auth_request.complete()

    def abort(self) -> None:
        """The response was cut short."""
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            if self._chunks:
                recorder.data(self._chunks)
            recorder.abort()
