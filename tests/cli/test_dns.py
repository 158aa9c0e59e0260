from __future__ import annotations

import json
import tempfile
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from superedge.cli.corefile import CorefileError, convert, parse
from superedge.cli.dns import dns
from superedge.config.load import convert as load
from superedge.config.root import Config

# As kubeadm makes it, but for the servers' addresses.
KUBEADM = """
.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . 192.0.2.53 192.0.2.54:5353 {
       max_concurrent 1000
    }
    cache 30 {
       disable success cluster.local
       disable denial cluster.local
    }
    loop
    reload
    loadbalance
}
"""


class ConvertTests(SynchronousTestCase):
    def loaded(self, text: str) -> tuple[Any, list[str]]:
        toml, remarks = convert(text)
        config = load(Config, tomllib.loads(toml), "x", Path("/"))
        return config.local_dns, remarks

    def test_kubeadm_s(self) -> None:
        config, remarks = self.loaded(KUBEADM)
        self.assertEqual((config.cluster_domain, config.pod_records, config.ttl), ("cluster.local", True, 30))
        (forward,) = config.forward
        self.assertEqual(forward.zones, ["."])
        self.assertEqual(forward.upstreams, ["192.0.2.53", "192.0.2.54:5353"])
        self.assertEqual(forward.policy, "random")
        self.assertEqual((config.cache.max_ttl, config.cache.max_negative_ttl), (30, 30))
        self.assertEqual(remarks, [])

    def test_stub_domains_rewrite_hosts_log_bind(self) -> None:
        config, remarks = self.loaded("""
        corp.example:53 lab.example { # comment
            forward . 10.0.0.1 [2001:db8::1]:53 {
                policy sequential
            }
        }
        . {
            log
            bind 169.254.20.10 fd00::a
            hosts /etc/hosts.site site.example
            rewrite name old.example web.default.svc.cluster.local
            rewrite stop name suffix .a.example .b.example
            cache {
                success 5000 600
                denial 1000 60
                prefetch 10
            }
            forward . 192.0.2.1
        }
        """)
        self.assertEqual(remarks, [])
        self.assertEqual([each.zones for each in config.forward], [["corp.example", "lab.example"], ["."]])
        self.assertEqual(config.forward[0].upstreams, ["10.0.0.1", "[2001:db8::1]:53"])
        self.assertEqual(
            [(r.name, r.to, r.suffix) for r in config.rewrite],
            [
                ("old.example", "web.default.svc.cluster.local", False),
                ("a.example", "b.example", True),
            ],
        )
        self.assertEqual(config.listen, ["169.254.20.10:53", "[fd00::a]:53"])
        self.assertEqual((str(config.hosts[0]), config.chain[0]), ("/etc/hosts.site", "log"))
        self.assertEqual((config.cache.max_ttl, config.cache.max_negative_ttl), (600, 60))

    def test_without_a_counterpart(self) -> None:
        _, remarks = self.loaded("""
        . {
            autopath @kubernetes
            template IN A {
                answer "x"
            }
            forward . tls://9.9.9.9
            rewrite name regex (.*) {1}
            kubernetes cluster.local {
                pods verified
                endpoint_pod_names
            }
        }
        """)
        said = "\n".join(remarks)
        for what in (
            "autopath",
            "template",
            "tls://9.9.9.9",
            "regex",
            "verified",
            "endpoint_pod",
        ):
            self.assertIn(what, said)
        self.assertEqual(len(remarks), 6)

    def test_a_zone_of_two_ports(self) -> None:
        text = ".:53 x.example {\n  forward . 192.0.2.1\n}\n.:5353 y.example {\n  forward . 192.0.2.2\n}\n"
        config, remarks = self.loaded(text)
        self.assertEqual([each.zones for each in config.forward], [[".", "x.example"], ["y.example"]])
        self.assertEqual(remarks, ["line 5: forward: zone . is there twice: the first counts"])

    def test_no_corefile(self) -> None:
        for text in ("}", ". {", "errors", ". {\n x {\n y {\n", '. {\n x "\n}'):
            self.assertRaises(CorefileError, parse, text)


class CommandTests(SynchronousTestCase):
    def test_import(self) -> None:
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(KUBEADM)
            file.flush()
            self.assertEqual(CliRunner().invoke(dns, ["import", file.name]).exit_code, 0)
            file.write(". {\n    autopath @kubernetes\n}\n")
            file.flush()
            done = CliRunner().invoke(dns, ["import", file.name])
        self.assertEqual(done.exit_code, 1)
        self.assertIn("has no counterpart", done.stderr)
        self.assertEqual(tomllib.loads(done.stdout)["local_dns"]["ttl"], 30)

    def test_status(self) -> None:
        status = {
            "services": 5,
            "endpoint_slices": 7,
            "synced": False,
            "problems": ["/api/v1/services: 403 Forbidden"],
            "snapshot": {"path": "/var/x", "age": 12.3},
            "cache": {"entries": 1, "hits": 2, "misses": 3, "stale": 4},
            "upstreams": [{"zones": ["."], "server": "192.0.2.1:53", "healthy": False}],
        }
        pages = [{"local_dns": status}, {"local_dns": status}, {}]

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(pages.pop(0)).encode())

            def log_message(self, *arguments: Any) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        self.addCleanup(server.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(server.shutdown)
        url = f"http://127.0.0.1:{server.server_port}"
        text = CliRunner().invoke(dns, ["status", "--url", url]).stdout
        for part in (
            "services         5",
            "not read since the start; /api/v1/services: 403 Forbidden",
            "12 s old",
            "2 hits",
            "192.0.2.1:53 for . does not answer",
        ):
            self.assertIn(part, text)
        as_json = CliRunner().invoke(dns, ["status", "--url", url, "--output", "json"]).stdout
        self.assertEqual(json.loads(as_json), status)
        other = CliRunner().invoke(dns, ["status", "--url", url])
        self.assertEqual(other.exit_code, 1)
        self.assertIn("local_dns", other.stderr)
