"""What every response filter keeps to. A test case of yours inherits it and says how to make the filter::

class OpenShopsTests(ResponseFilterContract, SynchronousTestCase):
    def make(self):
        return OpenShops()

    def objects(self):
        return [("shop.example", "prices", {"metadata": {"name": "tea", "namespace": "a", ...}})]
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from superedge.interfaces import Followed, IEncodedResponseFilter, IFollowingFilter, IResponseFilter
from superedge.kube.media import JSON

if TYPE_CHECKING:
    from twisted.trial.unittest import SynchronousTestCase as Base
else:
    Base = object

_KEPT = ("name", "namespace", "resourceVersion", "uid")


class ResponseFilterContract(Base):
    """Inherit it in front of trial's SynchronousTestCase."""

    def make(self) -> IResponseFilter:
        """A new filter."""
        raise NotImplementedError

    def objects(self) -> Sequence[tuple[str, str, dict[str, Any]]]:
        """Objects to filter: group, resource and the object."""
        raise NotImplementedError

    def test_it_has_a_name_and_resources(self) -> None:
        made = self.make()
        self.assertTrue(IResponseFilter.providedBy(made))
        self.assertIsInstance(made.name, str)
        self.assertNotEqual(list(made.resources()), [])
        for group, resource in made.resources():
            self.assertEqual((type(group), type(resource)), (str, str))

    def test_an_object_stays_itself(self) -> None:
        made = self.make()
        for group, resource, item in self.objects():
            self.assertIn((group, resource), list(made.resources()))
            shown = made.filter(group, resource, deepcopy(item))
            if shown is not None:
                kept = [[each["metadata"].get(key) for key in _KEPT] for each in (item, shown)]
                self.assertEqual(kept[1], kept[0])
            again = made.filter(group, resource, deepcopy(item))
            self.assertEqual(again, shown, "the same object looks the same as long as nothing changed")

    def test_encoded_objects(self) -> None:
        made = self.make()
        if not IEncodedResponseFilter.providedBy(made):
            return
        for group, resource, item in self.objects():
            raw = json.dumps(item).encode()
            shown = made.filter_encoded(group, resource, JSON, raw)
            decoded = json.loads(shown)
            self.assertEqual(decoded["metadata"], item["metadata"], "Tables and metadata pass unfiltered")
            if decoded == item:
                self.assertIs(shown, raw, "what does not change is the same bytes")

    def test_what_it_follows(self) -> None:
        made = self.make()
        if not IFollowingFilter.providedBy(made):
            return
        self.assertNotEqual(list(made.follows()), [])
        for what in made.follows():
            self.assertIsInstance(what, Followed)
            self.assertFalse(made.followed(what, "", "never-seen", None), "it was not there before")
