"""Section ``[kubernetes]``: the API server that components ask."""

from __future__ import annotations

from pathlib import Path

import msgspec


class KubernetesConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How components in the cloud, and `local_dns`, reach the API server; without it, as a pod does."""

    #: Kubeconfig whose current context is used: a client certificate, `token` or `tokenFile`. Without one,
    #: the service account of the pod.
    kubeconfig: Path | None = None
