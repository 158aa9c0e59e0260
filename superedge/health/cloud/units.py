"""Which nodes form which unit, by the scope. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from superedge.health.cloud.cluster import NodeFacts, Scope
from superedge.health.votes.messages import PORT, Member, Unit
from superedge.health.votes.witnesses import witnesses_of


@dataclass(slots=True)
class UnitMembers:
    """The members of a unit by name, and their names sorted. ``unit`` is what is sent to them."""

    members: dict[str, Member] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    unit: Unit | None = None
    _chosen: dict[str, list[str]] = field(default_factory=dict)

    def regroup(self) -> None:
        """Update the rest after a change of ``members``."""
        self.unit = None
        names = sorted(self.members)
        if names != self.names:
            self.names = names
            self._chosen.clear()

    def witnesses(self, name: str, count: int) -> list[str]:
        """The witnesses of a member. They are cached, because the choice compares all members."""
        if name not in self._chosen:
            self._chosen[name] = witnesses_of(name, self.names, count)
        return self._chosen[name]


class Units:
    """The units of a cluster.

    ``left`` is called with a node that is in no unit any more, ``regrouped`` with a unit whose members
    changed.
    """

    def __init__(self, witnesses: int, left: Callable[[str], None], regrouped: Callable[[str], None]) -> None:
        """``witnesses`` is how many each member has at most."""
        self._witnesses = witnesses
        self._left = left
        self._regrouped = regrouped
        self._scope: Scope | None = None
        self._ports: dict[str, int] = {}
        self._units: dict[str, UnitMembers] = {}
        self.by_node: dict[str, str] = {}
        """The unit of each node that is in one."""

    def scope_changed(self, scope: Scope, nodes: Iterable[NodeFacts]) -> None:
        """``nodes`` are all of the cluster."""
        if scope != self._scope:
            self._scope = scope
            for node in list(nodes):
                self.place(node)

    def place(self, node: NodeFacts) -> None:
        """A node came or changed."""
        unit = None if self._scope is None else self._scope.unit_of(node)
        self._leave(node.name, unit)
        if unit is None:
            return
        self.by_node[node.name] = unit
        group = self._units.setdefault(unit, UnitMembers())
        port = self._ports.get(node.name, PORT)
        member = Member(node.name, node.host, node.kubelet or 10250, port)
        if group.members.get(node.name) != member:
            group.members[node.name] = member
            self._regroup(unit)

    def remove(self, name: str) -> None:
        """A node is gone."""
        self._ports.pop(name, None)
        self._leave(name, None)

    def listens(self, name: str, port: int, node: NodeFacts | None) -> None:
        """A node, whose Node object may not be there, accepts links on this port."""
        if self._ports.get(name, PORT) != port:
            self._ports[name] = port
            if node is not None:
                self.place(node)

    def _leave(self, name: str, unit: str | None) -> None:
        """The node is in this unit from now on, or in none."""
        before = self.by_node.get(name)
        if before is None or before == unit:
            return
        del self.by_node[name]
        self._units[before].members.pop(name, None)
        self._regroup(before)
        if unit is None:
            self._left(name)

    def _regroup(self, unit: str) -> None:
        group = self._units[unit]
        group.regroup()
        if not group.names:
            del self._units[unit]
        self._regrouped(unit)

    def witnesses(self, name: str) -> list[str]:
        """The witnesses of a node that is in a unit."""
        return self._units[self.by_node[name]].witnesses(name, self._witnesses)

    def speaks_of(self, voter: str, peer: str) -> bool:
        """Whether a voter's opinion of a peer counts."""
        unit = self.by_node.get(peer)
        if unit is None or unit != self.by_node.get(voter):
            return False
        return voter == peer or voter in self.witnesses(peer)

    def members(self, unit: str) -> list[str]:
        """The names of a unit's members, sorted."""
        return self._units[unit].names if unit in self._units else []

    def unit(self, name: str) -> Unit:
        """A node's unit as it is sent to the node; without members for a node that is in none."""
        unit = self.by_node.get(name)
        if unit is None:
            return Unit("", 0, ())
        group = self._units[unit]
        if group.unit is None:
            members = tuple(group.members[each] for each in group.names)
            group.unit = Unit(unit, self._witnesses, members)
        return group.unit

    def __iter__(self) -> Iterator[str]:
        """The units' names, sorted."""
        return iter(sorted(self._units))
