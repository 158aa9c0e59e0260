"""Calls of the plugin within the test's process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from superedge.netsnapshot.ipam import plugin
from superedge.netsnapshot.ipam.records import Moment
from superedge.netsnapshot.ipam.store import Store


class PluginCase(SynchronousTestCase):
    """A network ``edge`` in a directory of its own, at a time that stands still."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir()
        self.results = self.directory / "results"
        self.files = self.directory / "edge"
        self.now = Moment(1000, "boot", 100)
        self.patch(plugin, "moment", lambda: self.now)
        self.ipam: dict[str, Any] = {
            "type": "superedge-ipam",
            "dataDir": str(self.directory),
            "ranges": [[{"subnet": "10.1.0.0/24"}]],
        }
        self.more: dict[str, Any] = {}
        self.version = "1.1.0"

    @property
    def store(self) -> Store:
        return Store(str(self.directory), str(self.results))

    def raw(self, command: str, environment: dict[str, str], data: bytes) -> tuple[int, Any]:
        """The exit code and the answer."""
        code, text = plugin.run({"CNI_COMMAND": command, **environment}, data, str(self.results))
        return code, json.loads(text) if text else None

    def call(
        self, command: str, container: str = "", pod: str = "", uid: str = "u", **environment: str
    ) -> Any:
        """The result. Raises AssertionError when there is an error instead."""
        code, answer = self.attempt(command, container, pod, uid, **environment)
        self.assertEqual(code, 0, answer)
        return answer

    def attempt(
        self, command: str, container: str = "", pod: str = "", uid: str = "u", **environment: str
    ) -> tuple[int, Any]:
        """The exit code, and the result or the error."""
        variables = {"CNI_CONTAINERID": container, "CNI_NETNS": "/run/netns/x", "CNI_IFNAME": "eth0"}
        if pod:
            name = f"K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod};K8S_POD_UID={uid}"
            variables["CNI_ARGS"] = f"IgnoreUnknown=1;{name};K8S_POD_INFRA_CONTAINER_ID={container}"
        document = {"cniVersion": self.version, "name": "edge", "ipam": self.ipam, **self.more}
        return self.raw(command, variables | environment, json.dumps(document).encode())

    def add(self, container: str, pod: str = "", uid: str = "u") -> str:
        """The addresses that ADD returns, without their prefix lengths."""
        found = self.call("ADD", container, pod, uid)["ips"]
        return " ".join(each["address"].partition("/")[0] for each in found)

    def fault(self, code: int, text: str, command: str, container: str = "", **environment: str) -> None:
        """That a call reports this."""
        failed, answer = self.attempt(command, container, **environment)
        expected = {"cniVersion": self.version, "code": code, "msg": text}
        self.assertEqual((failed, answer), (1, expected))
