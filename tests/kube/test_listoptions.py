from __future__ import annotations

from urllib.parse import parse_qsl

from twisted.trial.unittest import SynchronousTestCase

from superedge.kube.listoptions import refusal

VERSION = "resourceVersion=5"
MATCH = "resourceVersionMatch"
INITIAL = "sendInitialEvents=true"


class RefusalTests(SynchronousTestCase):
    """The codes are those of a kube-apiserver 1.37, which has 500 for some versions that are no numbers."""

    def test_parameters(self) -> None:
        for verb, query, wanted in (
            ("list", "", None),
            ("list", "limit=5&timeoutSeconds=1&resourceVersion=", None),
            ("list", "limit=-1", None),
            ("list", "limit=x", 400),
            ("watch", "timeoutSeconds=x", 400),
            ("get", "resourceVersion=0", None),
            ("get", f"{MATCH}=Exact", None),
            ("get", "resourceVersion=x", 400),
            ("list", "resourceVersion=-1", 400),
            ("list", "resourceVersion=٣", 400),
            ("watch", "resourceVersion=x", 400),
            ("list", f"{VERSION}&{MATCH}=Exact", None),
            ("list", f"resourceVersion=0&{MATCH}=NotOlderThan", None),
            ("list", f"resourceVersion=0&{MATCH}=Exact", 422),
            ("list", f"{VERSION}&{MATCH}=Odd", 422),
            ("list", f"{MATCH}=Exact", 422),
            ("list", INITIAL, 422),
            ("watch", f"{INITIAL}&{MATCH}=NotOlderThan", None),
            ("watch", f"sendInitialEvents=false&{MATCH}=NotOlderThan", None),
            ("watch", INITIAL, 422),
            ("watch", f"{INITIAL}&{MATCH}=Exact", 422),
            ("watch", f"{VERSION}&{MATCH}=NotOlderThan", 422),
        ):
            found = refusal(verb, dict(parse_qsl(query, keep_blank_values=True)))
            self.assertEqual(found.code if found is not None else None, wanted, f"{verb} {query}")
