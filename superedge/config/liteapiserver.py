"""Section ``[lite_apiserver]``: the node's API server."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl

import msgspec

from superedge.config.checks import (
    check_ip,
    check_not_empty,
    check_not_negative,
    check_positive,
    check_target,
    check_tcp_address,
)


class CacheRuleConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Whether the resources that match a pattern are cached; the first matching rule applies."""

    #: Pattern for `resource` or `resource.group`, `*` for any text: `secrets`, `*.metrics.k8s.io`.
    resources: str
    #: `cache` keeps them on disk, `memory-only` in memory until the process ends, `skip` not at all.
    action: Literal["cache", "memory-only", "skip"]


class PrefetchConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Paths that are read into the cache before a client asks for them."""

    #: Common name of the upstream identity that reads them: only clients with that common name get them
    #: offline.
    identity: str
    #: Paths of the API, with label and field selectors if needed: `/api/v1/services`. A collection is listed
    #: and watched; an object, discovery or a schema is read every `refresh` seconds.
    paths: list[str]
    #: The media type that the client will accept.
    form: Literal["json", "protobuf"] = "json"
    #: Seconds between two reads of a path that is not watched.
    refresh: float = 300.0

    def __post_init__(self) -> None:
        """Refuse other texts than paths, and parameters other than selectors."""
        for path in self.paths:
            if not path.startswith("/"):
                raise ValueError(f"paths: {path!r} does not begin with /")
            asked = {key for key, _ in parse_qsl(path.partition("?")[2], keep_blank_values=True)}
            if other := asked - {"labelSelector", "fieldSelector", "hash"}:
                raise ValueError(
                    f"paths: {path!r} has {', '.join(sorted(other))}; only selectors are accepted"
                )
        check_positive(refresh=self.refresh)
        if self.refresh < 1:
            raise ValueError("refresh: must be at least 1")


class CacheConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The cache: where it is kept, and its limits."""

    #: The store, by its plugin's name: `file`, `sqlite`, `memory`, or one that an installed package brings.
    store: str = "file"
    #: Directory of the store, and of nothing else. It holds what the node may read, including Secrets, and
    #: gets mode 0700.
    path: Path = Path("/var/lib/superedge/cache")
    #: Options of the store.
    options: dict[str, Any] = {}
    #: Seconds for which changes are collected before they are written; a power failure may lose them.
    commit_interval: float = 0.05
    #: Rules by resource; a resource that matches none is cached.
    rules: list[CacheRuleConfig] = []
    #: Bytes of the longest response that is cached or filtered, and of all unfinished responses of one
    #: client.
    max_body: int = 64 * 1024 * 1024
    #: Bytes in the cache. Over the limit, the client that uses most of its share loses what it used least
    #: recently, except what an open watch shows.
    max_bytes: int = 256 * 1024 * 1024
    #: Objects in the cache, with the same eviction; each list, watch, document and 404 counts as one, too.
    max_objects: int = 100_000

    def __post_init__(self) -> None:
        """Refuse intervals and sizes that cannot work."""
        check_not_negative(commit_interval=self.commit_interval)
        check_positive(max_body=self.max_body, max_bytes=self.max_bytes, max_objects=self.max_objects)


class UpstreamConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The API servers in the cloud, and how their loss is detected."""

    #: Addresses, `host:port`.
    servers: list[str]
    #: Which server a new connection goes to: the first that works, or each in turn.
    order: Literal["priority", "round-robin"] = "priority"
    #: Name that the servers' certificates must have; by default the host that is dialled.
    server_name: str = ""
    #: CAs that sign the servers' certificates, PEM.
    ca: list[Path]
    #: Requests that use HTTP/2, if the servers offer it: `watches`, so that those of an identity share a
    #: connection; `all` except those that switch protocols; or `none`.
    http2: Literal["watches", "all", "none"] = "watches"
    #: Seconds for one server to accept a connection.
    connect_timeout: float = 5.0
    #: Seconds between two probes of `/readyz`.
    probe_interval: float = 5.0
    #: Seconds that a probe may take. It needs three round trips, so raise it for a satellite link. A request
    #: that waits for a quarter of it causes a probe.
    probe_timeout: float = 2.0
    #: Common name of the identity that probes; empty for none, since clusters let anyone read `/readyz`.
    probe_identity: str = ""

    def __post_init__(self) -> None:
        """Check addresses and times."""
        check_not_empty(servers=self.servers, ca=self.ca)
        for server in self.servers:
            check_target("servers", server)
        check_positive(
            connect_timeout=self.connect_timeout,
            probe_interval=self.probe_interval,
            probe_timeout=self.probe_timeout,
        )


class LiteAPIServerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The node's API server: a proxy to the cloud that answers from its cache while the cloud is away."""

    #: Addresses of the HTTPS listener. For pods, add a link-local one, e.g. `169.254.20.11:51003`.
    listen: list[str] = msgspec.field(default_factory=lambda: ["127.0.0.1:51003"])
    #: Certificate of the listener, PEM.
    certificate: Path
    #: Its private key.
    key: Path
    #: CAs that sign the certificates of clients: the cluster's CA.
    client_ca: list[Path]
    #: The upstream identities: files with certificate and key, and directories of `NAME.crt` with `NAME.key`,
    #: or of `NAME.pem` with both. A client with a certificate is forwarded with the pair of the same common
    #: name.
    identities: list[Path] = []
    #: What to do with a client certificate whose common name has no pair: `refuse` it (403), or `forward` the
    #: request without a certificate.
    unknown_certificate: Literal["refuse", "forward"] = "refuse"
    #: The API servers in the cloud.
    upstream: UpstreamConfig
    #: Address and port at which pods reach this server, e.g. `169.254.20.11:51003`. It replaces the endpoints
    #: of the Service `kubernetes`. Empty leaves them unchanged.
    advertise: str = ""
    #: Response filters, by their plugins' names, in the order in which they run.
    filters: list[str] = []
    #: Options of response filters, by their names: `{ grid = { node = "edge-1" } }`.
    filter_options: dict[str, dict[str, Any]] = {}
    #: Common name of the upstream identity as which filters read what they follow. The filter `grid` needs
    #: one that may list and watch Services and Nodes, such as that of kube-proxy.
    filter_identity: str = ""
    #: Whether, while the cloud is away, a service account's token that it has not seen is accepted by its
    #: signature. The issuer's keys are fetched with an identity that may read them.
    verify_tokens: bool = True
    #: Audiences of such tokens; by default the issuer's name, as in the API server.
    token_audiences: list[str] = []
    #: Seconds for which the response to a SubjectAccessReview, TokenReview or similar review is used again
    #: for the same request while the cloud is away; 0 for never. A TokenReview ends with its token.
    review_reuse: float = 300.0
    #: The cache.
    cache: CacheConfig = CacheConfig()
    #: Paths that are read before a client asks for them, so that they are available offline.
    prefetch: list[PrefetchConfig] = []
    #: Seconds within which watches that were held while offline end once the cloud is back.
    resume_within: float = 3.0
    #: Seconds that requests have to finish when the process stops, or an identity's files change.
    drain_timeout: float = 10.0

    def __post_init__(self) -> None:
        """Check addresses and that clients can be verified."""
        for address in self.listen:
            check_tcp_address("listen", address)
        if self.advertise:
            check_ip("advertise", check_target("advertise", self.advertise).host)
        check_not_empty(listen=self.listen, client_ca=self.client_ca)
        check_not_negative(
            resume_within=self.resume_within,
            drain_timeout=self.drain_timeout,
            review_reuse=self.review_reuse,
        )
