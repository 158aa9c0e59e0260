"""Values of the right type that cannot work."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from superedge.config.load import load_config
from superedge.config.root import Config
from superedge.errors import SuperEdgeError

EDGE = '[tunnel_edge]\nservers = ["a:1"]\ncertificate = "a"\nkey = "b"\nca = ["c"]\n'
CLOUD = '[tunnel_cloud]\ncertificate = "a"\nkey = "b"\nca = ["c"]\n'
TLS = CLOUD + '[[tunnel_cloud.listeners]]\nkind = "tls"\nlisten = "127.0.0.1:1"\n'
REPLICAS = CLOUD + '[tunnel_cloud.replicas]\nca = ["c"]\nnames = ["x"]\n'
FORWARD = '[[local_dns.forward]]\nupstreams = ["192.0.2.1"]\n'
REWRITE = "[local_dns]\n[[local_dns.rewrite]]\n"
PREFETCH = (
    '[lite_apiserver]\ncertificate = "a"\nkey = "b"\nclient_ca = ["c"]\n'
    'upstream = {servers = ["a:1"], ca = ["c"]}\n'
    '[[lite_apiserver.prefetch]]\nidentity = "x"\npaths = ["/api"]\n'
)
REFUSED = (
    # numbers
    (EDGE + "drain_timeout = inf", "tunnel_edge.drain_timeout"),
    (EDGE + "reconnect_maximum = inf", "tunnel_edge.reconnect_maximum"),
    (EDGE + "limits = {window = 4294967296}", "tunnel_edge.limits.window"),
    ("[application_grid]\nsite_grace = 1e300", "application_grid.site_grace"),
    (PREFETCH + "refresh = nan", "lite_apiserver.prefetch[0].refresh"),
    (REPLICAS + "lease_duration = 5000000000", "tunnel_cloud.replicas.lease_duration"),
    ("[tunnel_dns]\nttl = 4294967296", "tunnel_dns.ttl"),
    ("[local_dns]\nttl = 2147483648", "local_dns.ttl"),
    ("[local_dns]\ncache = {max_ttl = 4294967296}", "local_dns.cache.max_ttl"),
    # addresses
    (EDGE.replace("a:1", "a:0"), "tunnel_edge.servers"),
    (TLS + 'target = "127.0.0.1:0"', "tunnel_cloud.listeners[0].target"),
    (TLS.replace("127.0.0.1:1", f"unix:/run/{'x' * 103}"), "tunnel_cloud.listeners[0].listen"),
    ('[tunnel_dns]\nupstreams = ["127.0.0.1"]', "tunnel_dns.upstreams"),
    # names
    (TLS + 'suffixes = ["edge..example"]', "tunnel_cloud.listeners[0].suffixes"),
    (CLOUD + 'cluster_domain = "a..b"', "tunnel_cloud.cluster_domain"),
    ('[tunnel_dns]\nupstream_zones = ["ü.example"]', "tunnel_dns.upstream_zones"),
    ('[local_dns]\ncluster_domain = ""', "local_dns.cluster_domain"),
    ("[local_dns]\n" + FORWARD + f'zones = ["{"x" * 64}.example"]', "local_dns.forward[0].zones"),
    (
        "[local_dns]\n" + FORWARD + 'zones = ["x.y"]\n' + FORWARD + 'zones = ["X.y."]',
        "local_dns.forward.zones",
    ),
    (REWRITE + 'name = "a..b"\nto = "x"', "local_dns.rewrite[0].name"),
    (REWRITE + 'name = "x"\nto = ""', "local_dns.rewrite[0].to"),
    (
        '[local_dns]\nlisten = ["[::]:53"]\n[[local_dns.forward]]\nupstreams = ["127.0.0.1"]',
        "local_dns.forward.upstreams",
    ),
    ("[local_dns]\nresolvers = {block = {}}", "local_dns.chain"),
    # files
    (EDGE + 'proxy_credentials = ""', "tunnel_edge.proxy_credentials"),
    ('[local_dns]\nsnapshot = "a\\u0000b"', "local_dns.snapshot"),
    # what the parser of TOML stumbles on
    (f"[application_grid]\nburst = {'9' * 5000}", "is not TOML"),
    ("a = " + "[" * 5000 + "]" * 5000, "is not TOML"),
)


class ValueTests(SynchronousTestCase):
    def load(self, text: str) -> Config:
        path = Path(self.mktemp())
        path.write_text(text)
        return load_config(Config, path)

    def test_what_is_refused_is_named(self) -> None:
        for text, key in REFUSED:
            problem = str(self.assertRaises(SuperEdgeError, self.load, text))
            self.assertIn(f": {key}: ", f"{problem}: ")
            self.assertNotIn("\n", problem)

    def test_the_ends_of_what_is_accepted(self) -> None:
        self.load(EDGE + "limits = {window = 4294967295}\ndrain_timeout = 1e9")
        self.load("[local_dns]\nttl = 2147483647\n" + FORWARD + 'zones = [".", "x."]')
        self.load(TLS.replace("127.0.0.1:1", f"unix:/run/{'x' * 102}") + 'suffixes = [".edge.example", "x."]')

    def test_a_file_of_an_editor_that_marks_utf_8(self) -> None:
        self.assertIsNotNone(self.load("\ufeff[ops]\n").ops)
