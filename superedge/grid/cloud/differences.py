"""Whether an object has what was applied to it. Pure.

The API server fills in defaults, leaves out what is empty, and writes quantities in its own way: an object
satisfies what is wanted when every wanted field has the wanted value. Source: the merge keys are those of
the Kubernetes API (x-kubernetes-list-map-keys); other lists belong to their owner as a whole.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

_NAME = ("name",)
_MERGE_KEYS: dict[str, tuple[str, ...]] = {
    "containers": _NAME,
    "initContainers": _NAME,
    "volumes": _NAME,
    "env": _NAME,
    "imagePullSecrets": _NAME,
    "schedulingGates": _NAME,
    "resourceClaims": _NAME,
    "claims": _NAME,
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "hostAliases": ("ip",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "ownerReferences": ("uid",),
}
_PORT_KEYS = ("containerPort", "port")
_QUANTITIES = frozenset({"limits", "requests", "sizeLimit", "storage", "overhead", "capacity", "divisor"})
_SUFFIXES = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1),
    "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12), "P": Decimal(10**15),
    "E": Decimal(10**18),
    "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40),
    "Pi": Decimal(2**50), "Ei": Decimal(2**60),
}  # fmt: skip


def satisfied(wanted: Any, actual: Any, field: str = "", quantity: bool = False) -> bool:
    """Whether ``actual`` has all of ``wanted``; ``field`` is the name of the field that holds them."""
    if actual is None:
        return _empty(wanted)
    quantity = quantity or field in _QUANTITIES
    if isinstance(wanted, dict):
        return isinstance(actual, dict) and all(
            satisfied(value, actual.get(key), key, quantity) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(actual, list) and _list_satisfied(wanted, actual, field)
    if wanted == actual and isinstance(wanted, bool) is isinstance(actual, bool):
        return True
    if not quantity:
        return False
    one, other = _quantity(wanted), _quantity(actual)
    return one is not None and one == other


def _list_satisfied(wanted: list[Any], actual: list[Any], field: str) -> bool:
    keys = _keys(wanted, field)
    if not keys:
        return len(wanted) == len(actual) and all(map(satisfied, wanted, actual))
    there = {_identity(each, keys): each for each in actual if isinstance(each, dict)}
    return all(satisfied(each, there.get(_identity(each, keys), False)) for each in wanted)


def _keys(wanted: list[Any], field: str) -> tuple[str, ...]:
    if not wanted or not all(isinstance(each, dict) for each in wanted):
        return ()
    if field != "ports":
        return _MERGE_KEYS.get(field, ())
    number = next((name for name in _PORT_KEYS if name in wanted[0]), "")
    return (number, "protocol") if number else ()


def _identity(item: dict[str, Any], keys: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(item.get(key, "TCP" if key == "protocol" else None) for key in keys)


def _empty(wanted: Any) -> bool:
    """Whether the API server may leave it out: nothing, 0, false, or made of such."""
    if isinstance(wanted, dict):
        return all(map(_empty, wanted.values()))
    return not wanted


def _quantity(value: Any) -> Decimal | None:
    """A quantity's number (apimachinery, resource.Quantity); None for what is none."""
    text = str(value)
    number = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    suffix = text[len(number) :]
    try:
        if suffix in _SUFFIXES:
            return Decimal(number) * _SUFFIXES[suffix]
        return Decimal(text)
    except ArithmeticError:
        return None
