"""``twistd superedge-edge``."""

from __future__ import annotations

from twisted.application.service import IService

from superedge.tap.command import Command
from superedge.tap.options import BaseOptions


class Options(BaseOptions):
    """Options of the edge command."""

    command = "superedge-edge"
    default_config = "/etc/superedge/edge.toml"
    synopsis = "[--config edge.toml] [--set section.key=value ...] [--check]"
    longdesc = "Runs SuperEdge on an edge node. docs/reference/configuration.md describes every key."


def makeService(options: Options) -> IService:
    """The service tree that the configuration asks for."""
    return Command(options)
