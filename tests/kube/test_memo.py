from __future__ import annotations

import tracemalloc

from twisted.trial.unittest import SynchronousTestCase

from superedge.kube.media import accepted
from superedge.kube.memo import MAX_CACHED, memo
from superedge.kube.request import parse_request
from superedge.liteapiserver.cache.policy import Policy
from superedge.liteapiserver.cache.representations import accepted_representations, expected_representation


class MemoTests(SynchronousTestCase):
    def test_short_arguments_are_remembered_and_long_ones_are_not(self) -> None:
        calls: list[str] = []

        @memo(2)
        def double(text: str) -> str:
            calls.append(text)
            return text * 2

        short, long = "a" * MAX_CACHED, "b" * (MAX_CACHED + 1)
        for text in (short, long):
            self.assertEqual([double(text), double(text)], [text * 2] * 2)
        self.assertEqual(calls, [short, long, long])

    def test_long_requests_leave_nothing(self) -> None:
        """A client may fill its head, again and again in another way."""
        policy = Policy()
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for number in range(40):
            long = f"{number}-{'x' * 100_000}"
            request = parse_request(b"GET", f"/apis/{long}/v1/{long}?q={long}".encode(), long.encode())
            accepted_representations(request)
            expected_representation(request, long)
            accepted(long)
            policy.for_resource(request.group, request.resource)
        del request, long
        self.assertLess(tracemalloc.get_traced_memory()[0], 5_000_000)
