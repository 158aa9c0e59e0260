"""What ``superedge nodes`` shows."""

from __future__ import annotations

from http.client import BadStatusLine, IncompleteRead
from typing import Any
from unittest.mock import patch

from click.testing import CliRunner
from rich.console import Console
from twisted.trial.unittest import SynchronousTestCase

from superedge.cli.nodes import age, make_table, nodes, size

HERE: dict[str, Any] = {
    "name": "edge-1",
    "connected": True,
    "since": 1000.0,
    "peer": "192.0.2.7:4711",
    "version": "0.1.0",
    "rtt_seconds": 0.0123,
    "streams": 3,
    "bytes_in": 2048,
    "bytes_out": 10,
    "last_error": "",
}
GONE: dict[str, Any] = {
    "name": "a-shop",
    "connected": False,
    "since": 1060.0,
    "peer": "192.0.2.8:1",
    "version": "0.1.0",
    "last_error": "no answer to a ping [bold]\x1b[31m",
}


class NodesTests(SynchronousTestCase):
    def test_the_table(self) -> None:
        console = Console(width=200)
        with console.capture() as shown:
            console.print(make_table([GONE, HERE], 1000.0 + 7200))
        lines = shown.get().splitlines()
        self.assertEqual(lines[1].split()[:4], ["edge-1", "connected", "2h", "192.0.2.7:4711"])
        self.assertIn("12.3 ms", lines[1])
        self.assertIn("2 KiB", lines[1])
        self.assertEqual(lines[2].split()[:2], ["a-shop", "gone"])
        self.assertIn("no answer to a ping [bold]?[31m", lines[2])

    def test_json_is_what_the_page_says(self) -> None:
        with patch("superedge.cli.nodes.read_nodes", return_value=[HERE]):
            result = CliRunner().invoke(nodes, ["--output", "json"])
        self.assertIn('"edge-1"', result.output)
        self.assertEqual(result.exit_code, 0)

    def test_a_port_where_nobody_is(self) -> None:
        result = CliRunner().invoke(nodes, ["--url", "http://127.0.0.1:1"])
        self.assertEqual(result.exit_code, 1)
        self.assertIn("http://127.0.0.1:1/superedge/status cannot be read", result.output)

    def test_a_port_of_something_else(self) -> None:
        """As of an sshd, or a page that is cut short."""
        for problem in (BadStatusLine("SSH-2.0-OpenSSH"), IncompleteRead(b"{", 99)):
            with patch("urllib.request.urlopen", side_effect=problem):
                result = CliRunner().invoke(nodes, [])
            self.assertEqual(result.exit_code, 1)
            self.assertIn(f"/superedge/status cannot be read: {problem}", result.output)

    def test_units(self) -> None:
        self.assertEqual(
            [age(each) for each in (-1, 5, 119, 120, 7200, 200000)], ["0s", "5s", "119s", "2m", "2h", "2d"]
        )
        self.assertEqual(
            [size(each) for each in (0, 1023, 2048, 5 * 2**40)], ["0 B", "1023 B", "2 KiB", "5.0 TiB"]
        )
