"""What is remembered at all, and how what is no read is answered."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from superedge.config.liteapiserver import CacheRuleConfig
from superedge.liteapiserver.cache.answers import Answer
from tests.liteapiserver.cache.driver import (
    ME,
    PODS,
    Driver,
    list_of,
    pod,
    request,
)


class PolicyTests(SynchronousTestCase):
    def test_what_is_never_remembered(self) -> None:
        driver = Driver()
        for target in (
            f"{PODS}/a/log",
            f"{PODS}/a/exec?command=ls",
            f"{PODS}/a/proxy/x",
            "/api/v1/nodes/n/proxy/metrics",
            "/healthz",
            "/readyz",
            "/metrics",
            "/logs/",
        ):
            self.assertIsNone(driver.begin(target), target)
        self.assertIsNotNone(driver.begin(f"{PODS}/a/status"))
        for status in (201, 206, 304, 401, 403, 410, 500):
            self.assertIsNone(driver.begin(PODS, status))
        self.assertEqual(driver.status(f"{PODS}/a/log"), 503)

    def test_rules(self) -> None:
        rules = [
            CacheRuleConfig(resources="secrets", action="memory-only"),
            CacheRuleConfig(resources="*.metrics.k8s.io", action="skip"),
            CacheRuleConfig(resources="secrets", action="skip"),
        ]
        driver = Driver(rules)
        secrets = "/api/v1/namespaces/default/secrets"
        driver.feed(secrets, list_of([pod("s", 3)], 9, "SecretList"))
        driver.feed(secrets, b"kind: SecretList", accept="application/yaml")
        self.assertEqual(driver.names(secrets), ["s"])
        driver.cache.save()
        self.assertEqual(driver.records, {})
        driver.reboot()
        self.assertEqual(driver.status(secrets), 503)
        self.assertIsNone(driver.begin("/apis/metrics.k8s.io/v1beta1/nodes"))

    def test_head_is_answered_as_get(self) -> None:
        driver = Driver()
        driver.feed(PODS, list_of([pod("a", 3)], 9))
        driver.feed("/version", b"{}")
        other = "/api/v1/namespaces/other/pods"
        for target, wanted in (
            (PODS, 200),
            (f"{PODS}/a", 200),
            (f"{PODS}/b", 404),
            (other, 503),
            ("/version", 200),
            ("/healthz", 503),
        ):
            for method in ("GET", "HEAD"):
                answer = driver.cache.answer(ME, request(target, method=method))
                assert isinstance(answer, Answer)
                self.assertEqual(answer.status, wanted, (method, target))

    def test_writes_are_refused(self) -> None:
        driver = Driver()
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            answer = driver.cache.answer(ME, request(PODS, method=method))
            assert isinstance(answer, Answer)
            self.assertEqual(answer.status, 503)
