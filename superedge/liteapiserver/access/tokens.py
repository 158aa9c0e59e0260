"""Answers TokenRequests with a token that the cloud issued before for the same request.

Source: Kubernetes authentication.k8s.io/v1 TokenRequest (protobuf: status 3 with token 1 and
expirationTimestamp 2, a Time of seconds 1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from hashlib import sha256

import msgspec
from twisted.logger import Logger

from superedge.interfaces import Entry
from superedge.kube.errors import JSON_FAULTS, DecodeError
from superedge.kube.media import JSON, PROTOBUF, accepted, parse_media_type
from superedge.kube.protobuf import envelope, split_envelope
from superedge.kube.request import RequestInfo
from superedge.kube.wire import BYTES, VARINT, field, number_field, read_varint, walk
from superedge.liteapiserver.access.credentials import read_claims
from superedge.liteapiserver.access.expiring import UNIX_EPOCH, ExpiringTable
from superedge.liteapiserver.access.seal import Seal, UnsealError
from superedge.liteapiserver.cache import records
from superedge.liteapiserver.cache.answers import Answer, describe, failure, stale_headers
from superedge.liteapiserver.cache.records import Commit

_EXPIRY_MARGIN = 10.0
"""Seconds before its expiry from which a token is no longer returned."""
_EXTENSION = 600.0
"""Seconds that the answer states as remaining when the stated expiry has passed and the token's own has not.
"""
MAX_BYTES = 8 * 1024 * 1024
"""Bytes of the tokens that are kept, several times those of a full node's pods. A limit is needed since a
kubelet's tokens may live for a year, long after their pods are deleted.
"""

_log = Logger()


class _Status(msgspec.Struct):
    token: str
    expirationTimestamp: str


class _TokenRequest(msgspec.Struct):
    status: _Status


class _Header(msgspec.Struct):
    content_type: str
    expires: float
    promised: float


_KEY_PARTS = 5
"""Identity, namespace, service account, hash of the request, and form."""
_json = msgspec.json.Decoder(_TokenRequest)


def is_token_request(request: RequestInfo) -> bool:
    """Whether a request is a TokenRequest for a service account."""
    return (
        request.verb == "create"
        and request.resource == "serviceaccounts"
        and request.subresource == "token"
        and request.group == ""
    )


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_token(media_type: str, body: bytes) -> tuple[str, float]:
    """The token of a response and its stated expiry, Unix time. Raises DecodeError."""
    try:
        if media_type == JSON:
            status = _json.decode(body).status
            moment = datetime.fromisoformat(status.expirationTimestamp)
            return status.token, moment.timestamp()
        _, _, raw = split_envelope(body)
        token, promised = "", 0
        for number, wire, start, end in walk(raw):
            if number != 3 or wire != BYTES:
                continue
            for inner, inner_wire, a, b in walk(raw, start, end):
                if inner == 1 and inner_wire == BYTES:
                    token = raw[a:b].decode()
                elif inner == 2 and inner_wire == BYTES:
                    for part, part_wire, c, _ in walk(raw, a, b):
                        if part == 1 and part_wire == VARINT:
                            promised = read_varint(raw, c)[0]
        return token, float(promised)
    except (OverflowError, *JSON_FAULTS) as problem:
        raise DecodeError(f"not a TokenRequest: {problem}") from problem


def with_expiry(media_type: str, body: bytes, seconds: float) -> bytes:
    """The response with another stated expiry, Unix time. Raises DecodeError."""
    if media_type == JSON:
        before = _json.decode(body).status.expirationTimestamp
        return body.replace(msgspec.json.encode(before), msgspec.json.encode(_timestamp(seconds)), 1)
    kind, api_version, raw = split_envelope(body)
    parts = []
    for number, wire, start, end in walk(raw):
        if wire != BYTES:
            raise DecodeError("a TokenRequest with a field of another type")
        if number != 3:
            parts.append(field(number, raw[start:end]))
            continue
        token = b"".join(raw[a:b] for inner, _, a, b in walk(raw, start, end) if inner == 1)
        parts.append(field(3, field(1, token) + field(2, number_field(1, int(seconds)) + b"\x10\x00")))
    return envelope(kind, api_version, b"".join(parts))


class TokenCache:
    """Encrypted responses to TokenRequests, by identity, service account and request body.

    The body has audiences, expiry and pod, so that the same body requests the same token.
    """

    def __init__(self, key: bytes, commit: Commit, clock: Callable[[], float]) -> None:
        """Raises ValueError for a malformed ``key``."""
        self._seal = Seal(key)
        self._commit = commit
        self._clock = clock
        self._held: ExpiringTable[tuple[str, ...], tuple[_Header, bytes]] = ExpiringTable(
            MAX_BYTES, self._forget
        )

    def _forget(self, key: tuple[str, ...]) -> None:
        self._commit(records.TOKEN, key, None)

    def load(self, entries: Iterable[Entry], readable: bool = True) -> None:
        """Load what a store holds; with ``readable`` false delete it, since its key is lost."""
        found = []
        for entry in entries:
            if entry.kind == records.TOKEN:
                try:
                    if not readable or len(entry.key) != _KEY_PARTS:
                        raise DecodeError("its key is lost, or another version wrote it")
                    found.append((entry.key, records.unpack(_Header, entry.value)))
                except DecodeError:
                    self._forget(entry.key)
        # Roughly in the order in which they were issued.
        for key, held in sorted(found, key=lambda each: each[1][0].promised):
            self._hold(key, held, UNIX_EPOCH)

    def _hold(self, key: tuple[str, ...], held: tuple[_Header, bytes], now: float) -> None:
        size = len(held[1]) + sum(map(len, key))
        self._held.put(key[0], key, held, held[0].expires, now, size)

    def save(self) -> None:
        """Commit everything again, for a store that lost it."""
        for key, held in self._held.items():
            self._commit(records.TOKEN, key, records.pack(*held))

    def record(
        self, identity: str, request: RequestInfo, request_body: bytes, content_type: str, body: bytes
    ) -> str:
        """Keep a response with status 201; returns its token. Raises DecodeError."""
        representation = parse_media_type(content_type)
        if representation.media_type not in (JSON, PROTOBUF):
            raise DecodeError(f"a TokenRequest as {content_type}")
        token, promised = read_token(representation.media_type, body)
        claims = read_claims(token)
        expires = claims.exp if claims is not None and claims.exp is not None else promised
        key = self._key(identity, request, request_body, str(representation))
        header = _Header(representation.media_type, expires, promised)
        sealed = self._seal.encrypt(body)
        self._hold(key, (header, sealed), self._clock())
        self._commit(records.TOKEN, key, records.pack(header, sealed))
        return token

    @staticmethod
    def _key(identity: str, request: RequestInfo, request_body: bytes, form: str) -> tuple[str, ...]:
        return (identity, request.namespace, request.name, sha256(request_body).hexdigest(), form)

    def answer(self, identity: str, request: RequestInfo, request_body: bytes) -> Answer:
        """201 with a token that is still valid, else 503."""
        now = self._clock()
        for representation in accepted(request.accept):
            key = self._key(identity, request, request_body, str(representation))
            held = self._held.get(key)
            if held is None or held[0].expires - _EXPIRY_MARGIN <= now:
                continue
            header, sealed = held
            try:
                body = self._seal.decrypt(sealed)
                if header.promised - _EXPIRY_MARGIN <= now:
                    end = min(header.expires, now + _EXTENSION)
                    body = with_expiry(header.content_type, body, end)
            except (UnsealError, DecodeError) as problem:
                _log.error("a stored token cannot be read: {problem}", problem=problem)
                self._held.remove(key)
                self._forget(key)
                continue
            return Answer(201, stale_headers(header.content_type, 0), body, "hit")
        return failure(503, f"the cloud is unreachable, and no token for {describe(request)} is still valid")

    def tokens(self) -> Iterator[tuple[str, str, str, float]]:
        """Identity, namespace, service account and expiry (Unix time) of each token."""
        for (identity, namespace, account, *_), (header, _sealed) in self._held.items():
            yield identity, namespace, account, header.expires
