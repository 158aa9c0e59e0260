"""The packages that docs/how-to/stores-and-filters.md shows, installed and used."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

import twisted.plugins
from superedge.cli.cache import cache
from superedge.interfaces import Change, IResponseFilter
from superedge.liteapiserver.stores.threads import BlockingStore
from superedge.plugin import find_plugin
from tests.cli.test_cache import filled
from tests.liteapiserver.cache.driver import list_of, pod
from tests.liteapiserver.stores.crash import crash_rounds
from tests.liteapiserver.test_offline import OfflineTestCase
from tests.liteapiserver.test_proxying import PODS
from tests.liteapiserver.world import NODE
from tests.packaging.test_docs import PROJECT

PAGE = (PROJECT / "docs/how-to/stores-and-filters.md").read_text()


def install(directory: Path) -> None:
    """Each module that the page names, where an installed package has it."""
    plugins = directory / "twisted" / "plugins"
    plugins.mkdir(parents=True)
    modules = re.findall(
        r"^`twisted/plugins/(\w+\.py)`:\n\n```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE
    )
    assert len(modules) == 3
    for name, code in modules:
        (plugins / name).write_text(code)
    (suite,) = re.findall(r"^```python\n(from twisted\.internet.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    (directory / "test_log_store.py").write_text(suite)


def find_here(test: SynchronousTestCase, directory: Path) -> None:
    """Let this process find what was installed, for the length of the test."""
    path = str(directory / "twisted" / "plugins")
    twisted.plugins.__path__.append(path)
    test.addCleanup(twisted.plugins.__path__.remove, path)
    for name in ("log_store", "price_filter", "open_shops"):
        test.addCleanup(sys.modules.pop, f"twisted.plugins.{name}", None)


class Installed(SynchronousTestCase):
    """The modules in a directory of their own."""

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="superedge-"))
        self.addCleanup(shutil.rmtree, self.directory)
        install(self.directory)
        self.environment = {**os.environ, "PYTHONPATH": f"{self.directory}{os.pathsep}{PROJECT}"}


class ContractTests(Installed):
    def make(self, path: Path, limit: int) -> BlockingStore:
        """The page's store, in this process."""
        scope: dict[str, Any] = {}
        exec((self.directory / "twisted/plugins/log_store.py").read_text(), scope)
        store: BlockingStore = scope["LogStore"](str(path), limit)
        return store

    def test_the_suite_for_stores(self) -> None:
        command = [sys.executable, "-m", "twisted.trial", "test_log_store"]
        done = subprocess.run(
            command, cwd=self.directory, env=self.environment, capture_output=True, text=True, check=False
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertRegex(done.stdout, r"PASSED \(successes=\d\d?\)")

    def test_crashes(self) -> None:
        crash_rounds(lambda path: self.make(path, 20_000), self.directory / "store", 12, "log")

    def test_the_command_finds_it(self) -> None:
        find_here(self, self.directory)
        store = self.make(self.directory / "store", 1_000_000)
        store.apply([Change(kind, key, value) for (kind, key), value in filled().records.items()])
        done = CliRunner().invoke(
            cache, ["verify", "--path", str(self.directory / "store"), "--store", "log"]
        )
        self.assertEqual(done.exit_code, 0, done.output)
        self.assertIn(f"{len(filled().records)} records, no faults", done.stdout)


class StoreTests(OfflineTestCase):
    options = {"store": "log"}
    filter = ""

    async def setUp(self) -> None:  # type: ignore[override]
        directory = Path(tempfile.mkdtemp(prefix="superedge-"))
        self.addCleanup(shutil.rmtree, directory)
        install(directory)
        find_here(self, directory)
        if self.filter:
            filters = [find_plugin(IResponseFilter, self.filter, "filters")]
            self.options = {"filters": filters, "filter_identity": NODE}
        await super().setUp()

    async def test_a_node_that_restarts_offline(self) -> None:
        await self.remember("a")
        await self.world.stop_lite()
        self.upstream.stop()
        await self.world.start_lite()
        await self.check_cached()
        self.assertTrue((self.world.directory / "cache" / "log").exists())


class FilterTests(StoreTests):
    filter = "no-drafts"

    async def test_a_node_that_restarts_offline(self) -> None:
        prices = "/apis/shop.example/v1/namespaces/default/prices"
        tag, draft = ({**pod(name, 3), "spec": {"draft": name == "draft"}} for name in ("tag", "draft"))
        self.upstream.serve(prices.encode(), list_of([tag, draft], 9, "PriceList"))
        for online in (True, False):
            if not online:
                await self.world.go_offline()
            self.assertEqual(self.names(await self.world.get(prices)), ["tag"])
        self.assertEqual((await self.world.get(f"{prices}/draft")).status, 404)
        self.assertEqual((await self.world.get(PODS)).status, 503)


class FollowingTests(StoreTests):
    filter = "open-shops"

    async def test_a_node_that_restarts_offline(self) -> None:
        prices = "/apis/shop.example/v1/namespaces/default/prices"
        self.upstream.serve(prices.encode(), list_of([pod("tag", 3)], 9, "PriceList"))
        for number, (closed, wanted) in enumerate((("no", []), ("yes", ["tag"]))):
            meta = {
                "name": "default",
                "resourceVersion": str(number + 7),
                "labels": {"shop.example/open": closed},
            }
            self.upstream.serve(
                b"/api/v1/namespaces",
                json.dumps(
                    {
                        "kind": "PartialObjectMetadataList",
                        "apiVersion": "meta.k8s.io/v1",
                        "metadata": {"resourceVersion": str(number + 9)},
                        "items": [{"metadata": meta}],
                    }
                ).encode(),
            )
            await self.world.stop_lite()
            await self.world.start_lite()
            self.assertEqual(self.names(await self.world.get(prices)), wanted)
        await self.world.stop_lite()
        self.upstream.stop()
        await self.world.start_lite()
        self.assertEqual(self.names(await self.world.get(prices)), ["tag"])
