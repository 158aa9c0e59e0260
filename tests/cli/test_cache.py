"""`superedge-cache` on what a server left behind, and beside one that runs."""

from __future__ import annotations

import base64
import io
import json
import shutil
import stat
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, cast

from click.testing import CliRunner
from cryptography.fernet import Fernet
from twisted.trial.unittest import SynchronousTestCase

from superedge.cli.cache import cache, main
from superedge.interfaces import Change
from superedge.kube.media import PROTOBUF
from superedge.liteapiserver.access.credentials import Credentials
from superedge.liteapiserver.access.tokens import TokenCache
from superedge.liteapiserver.stores.file import FileStore
from superedge.liteapiserver.stores.sqlite import SqliteStore
from tests.kube.test_codecs import sample
from tests.liteapiserver.access.test_credentials import ACCOUNT, jwt
from tests.liteapiserver.access.test_tokens import in_json
from tests.liteapiserver.cache.driver import JSON, ME, PODS, TABLE, Driver, list_of, pod, request, row, table

SECRETS = "/api/v1/namespaces/default/secrets"
PASSWORD = base64.b64encode(b"hunter2").decode()


def filled() -> Driver:
    """A driver whose records are a bit of everything."""
    driver = Driver()
    driver.feed(PODS, list_of([pod("a", 3), pod("b", 4)], 9))
    driver.feed(PODS, json.dumps(table([row("a", 3)], 9)).encode(), accept=TABLE)
    driver.feed(f"{PODS}/gone", b'{"kind":"Status","reason":"NotFound","code":404}', 404)
    driver.watch(f"{PODS}?labelSelector=x", b"garbage\n")
    applied = {"kubectl.kubernetes.io/last-applied-configuration": f'{{"data":{{"password":"{PASSWORD}"}}}}'}
    secret = pod("s", 5)
    secret["metadata"]["annotations"] = applied
    secret["data"] = {"password": PASSWORD}
    driver.feed(SECRETS, list_of([secret], 9, "SecretList"), identity="cert:other")
    samples = "/api/v1/namespaces/samples/configmaps?labelSelector=app"
    driver.feed(samples, sample("list.protobuf"), accept=PROTOBUF)
    driver.feed("/version", b'{"major":"1"}')
    vault = TokenCache(Fernet.generate_key(), driver._commit, lambda: 1000.0)
    token = jwt(sub=ACCOUNT, exp=99_999_999).split()[1].decode()
    asked = request("/api/v1/namespaces/default/serviceaccounts/web/token", JSON, "POST")
    vault.record(ME, asked, b"pod a", JSON, in_json(token))
    Credentials(driver._commit, lambda: 1000.0).accept(token, ACCOUNT)
    return driver


class CacheCommandTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.store: Any = FileStore(self.path)
        self.name = "file"
        self.driver = filled()

    def write(self, close: bool = True) -> None:
        self.store.load()
        self.store.apply([Change(kind, key, value) for (kind, key), value in self.driver.records.items()])
        if close:
            self.store.close()

    def run_(self, command: str, *arguments: str, output: str = "json") -> tuple[int, str]:
        place = [str(self.path), command, "--store", self.name, "--output", output]
        done = CliRunner().invoke(cache, [*place, *arguments])
        return done.exit_code, done.stdout

    def rows(self, *arguments: str) -> list[dict[str, Any]]:
        code, text = self.run_(*arguments)
        self.assertEqual(code, 0, text)
        found: list[dict[str, Any]] = json.loads(text)
        return found

    def test_collections(self) -> None:
        self.write()
        found = {(each["identity"], each["resource"], each["form"]): each for each in self.rows("list")}
        pods = found[ME, "pods", JSON]
        self.assertEqual((pods["objects"], pods["complete"], pods["absent"]), (2, 1, 1))
        self.assertEqual(len(found), 4)
        self.assertEqual([each["resource"] for each in self.rows("list", "--resource", "sec*")], ["secrets"])
        self.assertEqual(self.rows("list", "--identity", "nobody"), [])

    def test_for_people(self) -> None:
        self.write()
        code, text = self.run_("list", output="table")
        self.assertEqual(code, 0)
        self.assertIn("4 rows", text)
        (line,) = [line for line in text.splitlines() if "secrets" in line]
        self.assertEqual(line.split()[:3], ["cert:other", "secrets", "v1"])
        self.assertIn("no rows", self.run_("list", "--identity", "nobody", output="table")[1])
        self.assertIn("\n1 row\n", self.run_("list", "objects", "--name", "c1", output="table")[1])
        self.assertIn("\n1 object\n", self.run_("show", "configmaps", "c1", output="table")[1])

    def test_what_looks_like_markup(self) -> None:
        self.driver.feed(PODS, list_of([], 9), identity="cert:[bold]x[/]")
        self.write()
        self.assertIn("cert:[bold]x[/]", self.run_("list", output="table")[1])

    def test_the_other_tables(self) -> None:
        self.write()
        views = self.rows("list", "views", "--resource", "pods", "--identity", ME)
        self.assertEqual({each["complete"] for each in views if each["form"] == JSON}, {True})
        objects = self.rows("list", "objects", "--name", "a", "-n", "default")
        self.assertEqual([each["resourceVersion"] for each in objects], ["3", "3"])
        (document,) = self.rows("list", "documents")
        self.assertEqual((document["path"], document["bytes"]), ("/version", 13))

    def test_show(self) -> None:
        self.write()
        found = self.rows("show", "pods", "a")
        bodies = {each["form"]: each["body"] for each in found}
        self.assertEqual((bodies[JSON]["kind"], bodies[JSON]["metadata"]["name"]), ("Pod", "a"))
        self.assertEqual(self.run_("show", "pods", "nothing")[0], 1)
        _, text = self.run_("show", "pods", "a", output="table")
        self.assertIn('"name": "a"', text)
        (one,) = self.rows("show", "configmaps", "c1")
        self.assertIn(b"c1", base64.b64decode(one["base64"]))
        self.assertIn("protobuf", self.run_("show", "configmaps", "c1", output="table")[1])

    def test_secrets_only_when_asked(self) -> None:
        self.write()
        for output in ("json", "table"):
            _, text = self.run_("show", "secrets", output=output)
            self.assertIn('"password": "<hidden>"', text)
            self.assertNotIn(PASSWORD, text)
            self.assertIn(PASSWORD, self.run_("show", "secrets", "--secrets", output=output)[1])
        for arguments in ([], ["--secrets"]):
            directory = Path(self.mktemp())
            self.assertEqual(self.run_("export", str(directory), *arguments)[0], 0)
            text = "".join(path.read_text() for path in directory.rglob("*.json"))
            self.assertEqual(PASSWORD in text, bool(arguments))

    def test_tokens_never(self) -> None:
        self.write()
        (token,) = self.rows("list", "tokens")
        self.assertEqual((token["identity"], token["serviceAccount"]), (ME, "web"))
        self.assertEqual(token["expires"], "1973-03-03T09:46:39Z")
        directory = Path(self.mktemp())
        self.run_("export", str(directory), "--secrets")
        texts = [path.read_text() for path in directory.rglob("*.json")]
        texts += [self.run_("list", what)[1] for what in ("tokens", "objects", "documents", "collections")]
        for (kind, _), value in self.driver.records.items():
            if kind == "token":
                sealed = value.partition(b"\n")[2].decode()
                self.assertFalse([text for text in texts if sealed[:30] in text])

    def test_export(self) -> None:
        self.write()
        directory = Path(self.mktemp())
        code, text = self.run_("export", str(directory), "--resource", "pods")
        self.assertEqual((code, json.loads(text)["objects"]), (0, 3))
        file = directory / ME / "pods" / "v1" / "application%2Fjson" / "default" / "a.json"
        self.assertEqual(json.loads(file.read_text())["metadata"]["name"], "a")
        self.assertEqual(stat.S_IMODE(file.stat().st_mode), 0o600)

    def test_verify(self) -> None:
        self.write()
        code, text = self.run_("verify")
        self.assertEqual((code, json.loads(text)["faults"]), (0, []))
        self.assertIn("no faults", self.run_("verify", output="table")[1])

    def test_verify_finds_what_does_not_fit(self) -> None:
        records = self.driver.records
        (one,) = [key for kind, key in records if kind == "object" and key[3] == "secrets"]
        (other,) = [key for kind, key in records if kind == "object" and key[4] == JSON and key[-1] == "b"]
        records["object", one] = records["object", one].replace(b'"name": "s"', b'"name": "t"')
        del records["object", other]
        records["token", ("x", "y", "z", "q", JSON)] = b"damaged"
        self.write()
        code, text = self.run_("verify")
        self.assertEqual(code, 1)
        self.assertEqual(len(json.loads(text)["faults"]), 3, text)
        self.assertIn("3 faults", self.run_("verify", output="table")[1])

    def test_verify_finds_damaged_bytes(self) -> None:
        self.write()
        path = next((self.path / "tree" / "object").rglob("s"))
        path.write_bytes(path.read_bytes()[:-2] + b"??")
        code, text = self.run_("verify", output="table")
        self.assertEqual(code, 1)
        self.assertIn(str(path), text)
        self.assertTrue(path.exists())  # nothing is changed

    def test_beside_a_server_and_after_its_death(self) -> None:
        for name, make in (("file", FileStore), ("sqlite", SqliteStore)):
            self.path = Path(self.mktemp())
            self.store, self.name = make(self.path), name
            self.write(close=False)
            self.assertEqual(len(self.rows("list")), 4)
            killed = Path(self.mktemp())
            shutil.copytree(self.path, killed)
            self.store.close()
            self.path = killed
            before = sorted((path.name, path.read_bytes()) for path in killed.rglob("*") if path.is_file())
            self.assertEqual(len(self.rows("list")), 4)
            self.assertEqual(self.run_("verify")[0], 0)
            after = sorted((path.name, path.read_bytes()) for path in killed.rglob("*") if path.is_file())
            self.assertEqual(after, before)

    def test_what_is_not_there(self) -> None:
        for arguments, code, why in (
            (["--path", "/nowhere"], 1, "/nowhere: cannot be read as a cache of the store file"),
            (["--path", "/nowhere", "--store", "odd"], 1, "no installed plugin is called 'odd'"),
            (["--config", "/nowhere.toml"], 78, "/nowhere.toml: cannot be read"),
        ):
            self.patch(sys, "argv", ["superedge-cache", "list", *arguments])
            out, err = io.StringIO(), io.StringIO()
            with redirect_stdout(out), redirect_stderr(err):
                stop = cast(SystemExit, self.assertRaises(SystemExit, main))
            self.assertEqual((stop.code, out.getvalue()), (code, ""))
            self.assertIn(why, err.getvalue())
            self.assertEqual(err.getvalue().count("\n"), 1)

    def test_a_kind_of_store_without_a_directory(self) -> None:
        done = CliRunner().invoke(cache, ["list", "--store", "file"])
        self.assertEqual(done.exit_code, 2)
        self.assertIn("--store needs the directory of the cache", done.stderr)

    def test_the_configuration_says_where(self) -> None:
        self.write()
        config = self.path.parent / "edge.toml"
        config.write_text(f"""[lite_apiserver]
certificate = "a"
key = "b"
client_ca = ["c"]
[lite_apiserver.upstream]
servers = ["127.0.0.1:6443"]
ca = ["c"]
[lite_apiserver.cache]
path = "{self.path.name}"
""")
        script = str(Path(sys.executable).with_name("superedge-cache"))
        command = [script, "list", "--config", str(config)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        self.assertIn("4 rows", done.stdout)
