"""Section ``[lite_apiserver]``: the node's API server."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl

import msgspec

from superedge.config.checks import check_ip, check_not_negative, check_positive, check_tcp_address


class CacheRuleConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to do with the resources that a pattern names; the first rule that matches counts."""

    #: Pattern over `resource` or `resource.group`, `*` for any text: `secrets`, `*.metrics.k8s.io`.
    resources: str
    #: `cache` keeps them on disk, `memory-only` until the process ends, `skip` not at all.
    action: Literal["cache", "memory-only", "skip"]


class PrefetchConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is read before anybody asks, and as whom."""

    #: Common name of the upstream identity that reads it: only clients with that certificate get it.
    identity: str
    #: Paths of the API, with label and field selectors if any: `/api/v1/services`. A collection is listed and
    #: watched; one object, discovery or a schema is read every `refresh` seconds.
    paths: list[str]
    #: The form that the client will ask for.
    form: Literal["json", "protobuf"] = "json"
    #: Seconds between two reads of what is not watched.
    refresh: float = 300.0

    def __post_init__(self) -> None:
        """Refuse what is no path, or asks for how and not for what."""
        for path in self.paths:
            if not path.startswith("/"):
                raise ValueError(f"paths: {path!r} does not begin with /")
            asked = {key for key, _ in parse_qsl(path.partition("?")[2], keep_blank_values=True)}
            if other := asked - {"labelSelector", "fieldSelector", "hash"}:
                raise ValueError(
                    f"paths: {path!r} has {', '.join(sorted(other))}; selectors alone are accepted"
                )
        if self.refresh < 1:
            raise ValueError("refresh must be at least 1")


class CacheConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is remembered, and where."""

    #: The store, by its plugin's name: `file`, `sqlite`, `memory`, or one that an installed package brings.
    store: str = "file"
    #: Directory of the store, for it alone. It holds what the node may read, Secrets too, and is made 0700.
    path: Path = Path("/var/lib/superedge/cache")
    #: Options of the store.
    options: dict[str, Any] = {}
    #: Seconds that changes are gathered before they are written: what a power cut may cost.
    commit_interval: float = 0.05
    #: Rules by resource; what none of them names is cached.
    rules: list[CacheRuleConfig] = []
    #: Largest single answer that is remembered or filtered, bytes; also what the unfinished answers of one
    #: client may have together.
    max_body: int = 64 * 1024 * 1024
    #: Bytes that are remembered. Beyond, who has most for the own share gives way, and of that what was used
    #: least lately, but nothing that an open watch shows.
    max_bytes: int = 256 * 1024 * 1024
    #: Objects that are remembered, in the same manner; each list, watch, document and 404 counts as one, too.
    max_objects: int = 100_000

    def __post_init__(self) -> None:
        """Refuse intervals and sizes under which nothing works."""
        check_not_negative(commit_interval=self.commit_interval)
        check_positive(max_body=self.max_body, max_bytes=self.max_bytes, max_objects=self.max_objects)


class UpstreamConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The API servers in the cloud and how their absence is noticed."""

    #: Addresses, `host:port`.
    servers: list[str]
    #: Which server a new connection goes to: the first that works, or each in turn.
    order: Literal["priority", "round-robin"] = "priority"
    #: Name that the servers' certificates must carry; by default the host that is dialled.
    server_name: str = ""
    #: CAs that sign the servers' certificates, PEM.
    ca: list[Path]
    #: What goes over HTTP/2, where the servers offer it: `watches`, so that the many of one identity share
    #: a connection, `all` requests but those that switch protocols, or `none`.
    http2: Literal["watches", "all", "none"] = "watches"
    #: Seconds for one server to accept a connection.
    connect_timeout: float = 5.0
    #: Seconds between two probes of `/readyz`.
    probe_interval: float = 5.0
    #: Seconds a probe may take: three round trips of the link, so raise it for one by satellite. A request
    #: that waits for a quarter of it is a reason to probe.
    probe_timeout: float = 2.0
    #: Common name of the identity that probes; empty for none, as clusters let anyone ask `/readyz`.
    probe_identity: str = ""

    def __post_init__(self) -> None:
        """Check addresses and times."""
        if not self.servers or not self.ca:
            raise ValueError("servers and ca must name at least one each")
        for server in self.servers:
            check_tcp_address("servers", server)
        check_positive(
            connect_timeout=self.connect_timeout,
            probe_interval=self.probe_interval,
            probe_timeout=self.probe_timeout,
        )


class LiteAPIServerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The node's API server: proxies to the cloud, remembers, answers while the cloud is away."""

    #: Addresses of the HTTPS listener. Pods reach a link-local one, e.g. `169.254.20.11:51003`.
    listen: list[str] = msgspec.field(default_factory=lambda: ["127.0.0.1:51003"])
    #: Certificate of the listener, PEM.
    certificate: Path
    #: Its private key.
    key: Path
    #: CAs that sign the certificates of clients: the cluster's CA.
    client_ca: list[Path]
    #: Where the upstream identities are: files that hold certificate and key, and directories of
    #: `NAME.crt` with `NAME.key`, or of `NAME.pem` that holds both. A client with a certificate is
    #: forwarded with the pair of the same common name.
    identities: list[Path] = []
    #: A client certificate whose common name has no pair: `refuse` (403), or `forward` it as a client
    #: without certificate.
    unknown_certificate: Literal["refuse", "forward"] = "refuse"
    #: The API servers in the cloud.
    upstream: UpstreamConfig
    #: Address and port at which pods reach this server, e.g. `169.254.20.11:51003`: the endpoints of the
    #: Service `kubernetes` are shown as this one. Empty leaves them as they are.
    advertise: str = ""
    #: Response filters, by their plugins' names, in the order they are asked.
    filters: list[str] = []
    #: Whether, while the cloud is away, a service account's token that it has not seen is believed by its
    #: signature. The issuer's keys are fetched with an identity that may read them.
    verify_tokens: bool = True
    #: Audiences that such tokens may be meant for; by default the issuer's name, as in the API server.
    token_audiences: list[str] = []
    #: Seconds for which the answer to a SubjectAccessReview, TokenReview or one of their kin is given again
    #: to the same question while the cloud is away; 0 for never. A TokenReview counts as long as its token.
    review_reuse: float = 300.0
    #: What is remembered.
    cache: CacheConfig = CacheConfig()
    #: What is read before anybody asks, so that it is there offline.
    prefetch: list[PrefetchConfig] = []
    #: Seconds within which watches that were held while offline are ended once the cloud is back.
    resume_within: float = 3.0
    #: Seconds that requests have to finish when the process is told to stop, or an identity's files change.
    drain_timeout: float = 10.0

    def __post_init__(self) -> None:
        """Check addresses and that clients can be verified."""
        for address in self.listen:
            check_tcp_address("listen", address)
        if self.advertise:
            check_ip("advertise", check_tcp_address("advertise", self.advertise).host)
        if not self.listen or not self.client_ca:
            raise ValueError("listen and client_ca must name at least one each")
        check_not_negative(
            resume_within=self.resume_within,
            drain_timeout=self.drain_timeout,
            review_reuse=self.review_reuse,
        )
