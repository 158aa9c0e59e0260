"""Whether a client that resumes a watch saw what the filters of its resource see now. Pure.

What a filter follows changes at versions of other resources, so a filtered object may look different without
a new version of its own. A client that was away at that moment missed it. It is found by the version from
which it resumes: when that was not shown to any client before the last change, the client got it, or
something before it in the same stream, after the change. Versions of different resources are not compared,
but once: the first lists of what is followed, read after the start, are not older than anything that this
process's predecessor showed (etcd has one revision for all resources).
"""

from __future__ import annotations

Resource = tuple[str, str]
"""Group and name."""


class Resumption:
    """The versions of filtered resources up to which clients may have seen an earlier view."""

    def __init__(self) -> None:
        self._shown: dict[Resource, int] = {}
        self._stale: dict[Resource, int] = {}
        """Up to these versions clients may have an earlier view; nothing is known of other resources."""

    def shown(self, resource: Resource, number: int) -> None:
        """A client was shown something at this version."""
        if number > self._shown.get(resource, 0):
            self._shown[resource] = number

    def changed(self, resource: Resource) -> None:
        """The filtered view of a resource changed."""
        if resource in self._stale:
            self._stale[resource] = max(self._stale[resource], self._shown.get(resource, 0))

    def known(self, resource: Resource, number: int) -> None:
        """What the filters of a resource follow is known now, at this version."""
        if resource not in self._stale:
            self._stale[resource] = max(number, self._shown.get(resource, 0))

    def is_current(self, resource: Resource, number: int) -> bool:
        """Whether a client that was shown this version last has the present view."""
        stale = self._stale.get(resource)
        return stale is not None and stale < number <= self._shown.get(resource, 0)
