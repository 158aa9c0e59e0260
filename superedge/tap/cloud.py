"""``twistd superedge-cloud``."""

from __future__ import annotations

from twisted.application.service import IService

from superedge.tap.command import Command
from superedge.tap.options import BaseOptions


class Options(BaseOptions):
    """Options of the cloud command."""

    command = "superedge-cloud"
    default_config = "/etc/superedge/cloud.toml"
    synopsis = "[--config cloud.toml] [--set section.key=value ...] [--check]"
    longdesc = "Runs SuperEdge in the cloud. docs/reference/configuration.md describes every key."


def makeService(options: Options) -> IService:
    """The service tree that the configuration asks for."""
    return Command(options)
