"""The package that docs/how-to/local-dns.md shows, installed and used by a process."""

from __future__ import annotations

import os
import re
import signal

from click.testing import CliRunner

from superedge.cli.main import superedge
from tests.dns.test_local_process import LocalDNSProcess
from tests.packaging.test_docs import PROJECT

PAGE = (PROJECT / "docs/how-to/local-dns.md").read_text()


class ResolverTests(LocalDNSProcess):
    """In a process of its own, as an operator has it."""

    def setUp(self) -> None:
        super().setUp()
        plugins = self.directory / "package" / "twisted" / "plugins"
        plugins.mkdir(parents=True)
        ((name, code),) = re.findall(
            r"^`twisted/plugins/(\w+\.py)`:\n\n```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE
        )
        (plugins / name).write_text(code)
        tables = re.findall(r"^```toml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
        (table,) = (text for text in tables if "block" in text)
        config = f'[kubernetes]\nkubeconfig = "kubeconfig"\n{table}'.replace(
            "[local_dns]\n",
            f'[local_dns]\nlisten = ["127.0.0.1:{self.port}"]\nsnapshot = "dns.snapshot"\n',
        )
        (self.directory / "edge.toml").write_text(config)

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": f"{self.directory / 'package'}{os.pathsep}{PROJECT}"}

    def test_it_is_used(self) -> None:
        process = self.start()
        self.assertEqual(self.ask("a.blocked.example").header.rcode, 3)
        self.assertEqual(self.ask("a.open.example").header.rcode, 5)
        process.send_signal(signal.SIGTERM)
        process.wait(10)

    def test_without_the_package(self) -> None:
        done = CliRunner().invoke(superedge, ["check", str(self.directory / "edge.toml")])
        self.assertEqual(done.exit_code, 78)
        self.assertIn("local_dns.chain: no installed plugin is called 'block'", done.stderr)
