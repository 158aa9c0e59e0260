"""`superedge example`: prints the configurations, units and manifests in the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import click

_EXAMPLES = {
    "cloud.toml": "conf/cloud.toml",
    "edge.toml": "conf/edge.toml",
    "superedge-cloud.service": "deploy/systemd/superedge-cloud.service",
    "superedge-edge.service": "deploy/systemd/superedge-edge.service",
    "superedge-netrestore.service": "deploy/systemd/superedge-netrestore.service",
    "cloud.yaml": "deploy/kubernetes/cloud.yaml",
    "replicas.yaml": "deploy/kubernetes/replicas.yaml",
    "10-superedge.conflist": "deploy/cni/10-superedge.conflist",
    "grid-crds.yaml": "deploy/kubernetes/grid-crds.yaml",
    "grid-rbac.yaml": "deploy/kubernetes/grid-rbac.yaml",
    "health-rbac.yaml": "deploy/kubernetes/health-rbac.yaml",
    "health-policy.yaml": "deploy/kubernetes/health-policy.yaml",
    "health-webhook.yaml": "deploy/kubernetes/health-webhook.yaml",
    "sysctl.conf": "deploy/sysctl/superedge.conf",
}


@click.command()
@click.argument("name", type=click.Choice(list(_EXAMPLES)))
def example(name: str) -> None:
    """Print an example file: a configuration with every key, a unit, a manifest or a CNI network."""
    click.echo((_share() / _EXAMPLES[name]).read_text(encoding="utf-8"), nl=False)


def _share() -> Path:
    """The directory of the examples: package data, or the checkout of an editable install."""
    package = Path(str(files("superedge")))
    share = package / "share"
    return share if share.is_dir() else package.parent
