"""What ``superedge health`` shows."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import patch

from click.testing import CliRunner
from rich.console import Console
from twisted.trial.unittest import SynchronousTestCase

from superedge.cli.health import health, render

NOW = 1_900_000_000.0
CLOUD: dict[str, Any] = {
    "judging": True,
    "judge": "host_1",
    "enforcement": "policy",
    "enforcement_fault": "",
    "units": [
        {
            "unit": "shop",
            "nodes": [
                {
                    "name": "edge-1", "ready": "Unknown", "contact": "lost", "verdict": "dead",
                    "since": NOW - 30, "outcome": "evict", "healthy": [],
                    "unhealthy": ["edge-2", "edge-3"], "witnesses": 2, "ballot": None,
                },
                {
                    "name": "edge-2\x1b[31m", "ready": "True", "contact": "good", "verdict": "alive",
                    "since": NOW - 7200, "outcome": "nothing", "healthy": ["edge-3"], "unhealthy": [],
                    "witnesses": 2, "ballot": NOW - 4,
                },
            ],
        }
    ],
}  # fmt: skip
NODE: dict[str, Any] = {
    "node": "edge-1", "unit": "shop", "members": ["edge-1", "edge-2"], "connected": False, "hops": 2,
    "links": ["edge-2"], "time_from_cloud": True,
    "own": {
        "voter": "edge-1", "issued": NOW * 1000,
        "rows": [
            {"peer": "edge-1", "says": "healthy", "score": 100, "age": 0},
            {"peer": "edge-2", "says": "unhealthy", "score": 0, "age": 3000},
        ],
    },
    "ballots": [],
}  # fmt: skip


class HealthTests(SynchronousTestCase):
    def shown(self, found: dict[str, Any]) -> list[str]:
        console = Console(width=200)
        with console.capture() as shown:
            console.print(render(found, NOW))
        return [line.rstrip() for line in shown.get().splitlines()]

    def test_the_clouds_view(self) -> None:
        lines = self.shown(CLOUD)
        self.assertEqual(lines[0], "enforcement by policy works")
        words = ["shop", "edge-1", "Unknown", "lost", "dead", "30s", "evict", "edge-2", "edge-3"]
        self.assertEqual(lines[2].split(), words)
        self.assertEqual(lines[3].split()[1:7], ["edge-2?[31m", "True", "good", "alive", "2h", "nothing"])

    def test_an_enforcement_that_does_not_work(self) -> None:
        lines = self.shown({**CLOUD, "enforcement_fault": "the policy is missing"})
        self.assertEqual(lines[0], "enforcement by policy is NOT in force: the policy is missing")

    def test_a_replica_that_does_not_judge(self) -> None:
        lines = self.shown({"judging": False, "judge": "host_1"})
        self.assertEqual(lines, ["this replica does not judge; the judge is host_1"])

    def test_a_nodes_view(self) -> None:
        lines = self.shown(NODE)
        self.assertEqual(lines[0], "edge-1 in unit 'shop': 2 hops to the cloud, links with edge-2")
        self.assertEqual(len(lines), 3)
        self.assertEqual(lines[2].split()[2:], ["edge-2", "unhealthy", "0", "3s", "before"])

    def test_json_is_what_the_page_says(self) -> None:
        with patch("superedge.cli.health.read_health", return_value=CLOUD):
            result = CliRunner().invoke(health, ["--output", "json"])
        self.assertEqual(json.loads(result.output), CLOUD)

    def test_a_port_where_nobody_is(self) -> None:
        result = CliRunner().invoke(health, ["--url", "http://127.0.0.1:1"])
        self.assertEqual(result.exit_code, 1)
        self.assertIn("http://127.0.0.1:1/superedge/status cannot be read", result.output)
