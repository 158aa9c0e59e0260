"""Kubeconfigs as people have them."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from superedge.config.addresses import TCPAddress
from superedge.errors import ConfigError, IdentityError
from superedge.kube.access import Token, from_kubeconfig, in_cluster, load_access
from superedge.tls.authority import Authority


class KubeconfigTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        ca = Authority.create(self.directory)
        self.pair = ca.issue("admin", directory=self.directory)
        self.cluster: dict[str, Any] = {
            "server": "https://192.0.2.1:6443/k8s/",
            "certificate-authority": "ca.crt",
        }
        self.user: dict[str, Any] = {"client-certificate": "admin.crt", "client-key": "admin.key"}

    def write(self, **changes: Any) -> Path:
        path = self.directory / "config"
        content = {
            "current-context": "here",
            "contexts": [
                {"name": "other", "context": {}},
                {"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "superedge"}},
            ],
            "clusters": [{"name": "c", "cluster": self.cluster}],
            "users": [{"name": "u", "user": self.user}],
            **changes,
        }
        path.write_text(json.dumps(content))
        return path

    def fault(self, path: Path) -> str:
        return str(self.assertRaises(ConfigError, from_kubeconfig, path)).removeprefix(f"{path}: ")

    def test_files(self) -> None:
        access = from_kubeconfig(self.write())
        self.assertEqual((access.server, access.prefix), (TCPAddress("192.0.2.1", 6443), "/k8s"))
        self.assertEqual((access.namespace, access.token), ("superedge", None))
        self.assertIn(self.directory / "admin.key", access.tls.files)

    def test_inline_data_reaches_no_disk(self) -> None:
        def encoded(name: str) -> str:
            return base64.b64encode((self.directory / name).read_bytes()).decode()

        self.cluster = {
            "server": "https://[2001:db8::1]",
            "certificate-authority-data": encoded("ca.crt"),
            "tls-server-name": "kubernetes",
        }
        self.user = {
            "client-certificate-data": encoded("admin.crt"),
            "client-key-data": encoded("admin.key"),
        }
        access = from_kubeconfig(self.write())
        self.assertEqual((access.server, access.server_name), (TCPAddress("2001:db8::1", 443), "kubernetes"))
        self.assertTrue(all(str(path).startswith("/proc/self/fd/") for path in access.tls.files))

    def test_tokens(self) -> None:
        self.user = {"token": "abc"}
        access = from_kubeconfig(self.write())
        assert access.token is not None
        self.assertEqual(access.token.current(), "abc")
        (self.directory / "token").write_text("def\n")
        self.user = {"tokenFile": "token"}
        access = from_kubeconfig(self.write())
        assert access.token is not None
        self.assertEqual(access.token.current(), "def")

    def test_what_is_no_token(self) -> None:
        path = self.directory / "token"
        for content in (b"\xff\xfe", b"", b"two words", b"a\r\nX-Remote-User: admin"):
            path.write_bytes(content)
            token = Token(path=path)
            problem = self.assertRaises(IdentityError, token.current)
            self.assertTrue(str(problem).startswith(f"{path}: is not a token"), str(problem))
        path.write_bytes(b"abc")
        self.assertEqual(token.current(), "abc")
        path.write_bytes(b"\xff\xfe\n")
        self.assertEqual(token.current(), "abc", "the last one that could be read")
        self.user = {"token": "a\nb"}
        self.assertEqual(self.fault(self.write()), "user.token: is not a token, which is one word")

    def test_a_token_file_that_is_away_for_a_moment(self) -> None:
        path = self.directory / "token"
        token = Token(path=path)
        self.assertRaises(IdentityError, token.current)
        path.write_text("abc")
        self.assertEqual(token.current(), "abc")
        path.unlink()
        self.assertEqual(token.current(), "abc")

    def test_what_is_wrong_is_said(self) -> None:
        self.assertIn("cannot be read", str(self.assertRaises(ConfigError, from_kubeconfig, Path("/none"))))
        self.assertEqual(self.fault(self.write(users=[])), "users: has no user called 'u'")
        self.assertEqual(self.fault(self.write(contexts="x")), "contexts: has no context called 'here'")
        self.assertEqual(self.fault(self.write(**{"current-context": None})), "current-context: is required")
        self.user = {"exec": {"command": "aws"}}
        self.assertEqual(
            self.fault(self.write()), "user.exec: is not supported; use a client certificate or a token"
        )
        self.user = {"client-certificate": "admin.crt"}
        self.assertEqual(
            self.fault(self.write()), "user: needs both client-certificate and client-key, or neither"
        )
        self.user = {}
        for key, value, message in (
            ("insecure-skip-tls-verify", True, "is not supported; use a client certificate or a token"),
            ("certificate-authority-data", "%", "is not base64"),
            ("server", "http://x", "'http://x' is not https://host:port"),
            ("server", "https://x:port", "'https://x:port' is not https://host:port"),
        ):
            before = dict(self.cluster)
            self.cluster[key] = value
            self.assertEqual(self.fault(self.write()).partition(": ")[2], message)
            self.cluster = before
        self.cluster = {"server": "https://x"}
        self.assertEqual(self.fault(self.write()), "cluster.certificate-authority: is required")
        path = self.write()
        for text in ("{", "[" * 5000):
            path.write_text(text)
            self.assertEqual(self.fault(path), "is not YAML")

    def test_a_pod(self) -> None:
        self.patch(os, "environ", {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"})
        (self.directory / "token").write_text("abc")
        (self.directory / "namespace").write_text("superedge\n")
        access = in_cluster(self.directory)
        assert access.token is not None
        self.assertEqual((access.server, access.namespace), (TCPAddress("fd00::1", 6443), "superedge"))
        self.assertEqual(access.token.current(), "abc")
        self.patch(os, "environ", {})
        self.assertRaises(ConfigError, load_access, None)
