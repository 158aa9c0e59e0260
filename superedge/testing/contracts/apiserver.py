"""What an API server does: one suite for the embedded one and for a real kube-apiserver.

A test module makes a class of `APIServerContract` and trial's ``SynchronousTestCase`` and gives it
``server``, a `superedge.testing.contracts.case.ContractServer`. That is another process; the tests block
on it. Each test has a namespace of its own.
"""

from __future__ import annotations

from superedge.testing.contracts.custom import CustomResourceContract
from superedge.testing.contracts.discovery import DiscoveryContract
from superedge.testing.contracts.identities import IdentityContract
from superedge.testing.contracts.lists import ListContract
from superedge.testing.contracts.objects import ObjectContract
from superedge.testing.contracts.patches import PatchContract
from superedge.testing.contracts.tables import TableContract
from superedge.testing.contracts.watches import WatchContract


class APIServerContract(
    DiscoveryContract,
    IdentityContract,
    ObjectContract,
    ListContract,
    WatchContract,
    PatchContract,
    TableContract,
    CustomResourceContract,
):
    """All parts of the suite."""
