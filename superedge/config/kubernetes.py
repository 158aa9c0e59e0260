"""Table ``[kubernetes]``: the API server for all components but lite-apiserver."""

from __future__ import annotations

from pathlib import Path

import msgspec


class KubernetesConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How components other than lite-apiserver reach the API server; without it, as a pod does."""

    #: Kubeconfig whose current context is used, with a client certificate, `token` or `tokenFile`. By
    #: default, the service account of the pod is used.
    kubeconfig: Path | None = None
