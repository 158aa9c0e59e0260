"""The network configuration and CNI_ARGS, with the keys of the plugin host-local and a few more (pure).

The keys are those of https://www.cni.dev/plugins/current/ipam/host-local/; docs/how-to/pod-addresses.md has
the rest.
"""

from superedge.netsnapshot.ipam.addresses import BITS, Range, canonical, parse, parse_prefix, text_of
from superedge.netsnapshot.ipam.documents import decode
from superedge.netsnapshot.ipam.errors import (
    INCOMPATIBLE_VERSION,
    INVALID_CONFIGURATION,
    INVALID_ENVIRONMENT,
    UNDECODABLE,
    IPAMError,
)

VERSIONS = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")
DIRECTORY = "/var/lib/cni/networks"
RESERVATION_TTL = 86400

Document = dict[str, object]


def invalid(key: str, problem: object) -> IPAMError:
    """A fault of the configuration at a key."""
    return IPAMError(INVALID_CONFIGURATION, f"{key}: {problem}")


def decode_configuration(data: bytes) -> Document:
    """The configuration that the runtime passes on standard input. Raises IPAMError."""
    try:
        found = decode(data.decode())
    except ValueError as problem:
        raise IPAMError(UNDECODABLE, f"the network configuration is not JSON: {problem}") from None
    if not isinstance(found, dict):
        raise IPAMError(UNDECODABLE, "the network configuration is not a JSON object")
    return found


def version_of(document: Document) -> str:
    """The protocol's version. Raises IPAMError when this plugin does not speak it."""
    version = document.get("cniVersion", "0.1.0")
    if version not in VERSIONS:
        accepted = ", ".join(VERSIONS)
        raise IPAMError(INCOMPATIBLE_VERSION, f"cniVersion {version!r} is not one of {accepted}")
    return str(version)


def _table(document: Document, key: str, where: str) -> Document:
    """A JSON object at a key, empty if there is none."""
    found = document.get(key)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise invalid(where + key, "must be an object")
    return found


def _list(document: Document, key: str, where: str) -> list[object]:
    """A JSON list at a key, empty if there is none."""
    found = document.get(key)
    if found is None:
        return []
    if not isinstance(found, list):
        raise invalid(where + key, "must be a list")
    return found


def _path(ipam: Document, key: str) -> str:
    """A path at a key of ``ipam``, empty if there is none."""
    found = ipam.get(key) or ""
    if not isinstance(found, str) or not (found or "-").isprintable():
        raise invalid(f"ipam.{key}", f"{found!r} is not a path")
    return found


def is_name(text: object) -> bool:
    """Whether a text can be a network's name or a container's id: it becomes part of a path."""
    return (
        isinstance(text, str)
        and text.isascii()
        and text[:1].isalnum()
        and text.replace("_", "").replace(".", "").replace("-", "").isalnum()
    )


class Network:
    """Where a network's allocations are kept, and how long reservations last: ``ttl`` seconds of uptime."""

    def __init__(self, document: Document) -> None:
        """Raises IPAMError."""
        name, ipam = document.get("name"), _table(document, "ipam", "")
        if not is_name(name):
            text = "must begin with a letter or digit, and have letters, digits, '.', '_' and '-' only"
            raise invalid("name", f"{name!r} {text}")
        if not ipam:
            raise invalid("ipam", "is missing")
        self.name = str(name)
        directory = _path(ipam, "dataDir") or DIRECTORY
        if not directory.startswith("/"):
            raise invalid("ipam.dataDir", f"{directory!r} is not an absolute path")
        self.directory = directory.rstrip("/")
        ttl, keep = ipam.get("reservationTTL", RESERVATION_TTL), ipam.get("keepByName", False)
        if not isinstance(ttl, int) or isinstance(ttl, bool) or ttl < 0:
            raise invalid("ipam.reservationTTL", f"{ttl!r} is not a number of seconds, 0 or more")
        if not isinstance(keep, bool):
            raise invalid("ipam.keepByName", f"{keep!r} is neither true nor false")
        self.ttl = ttl
        self.keep = keep


def range_sets(document: Document) -> list[list[Range]]:
    """The range sets; an allocation has one address of each. Raises IPAMError."""
    ipam = _table(document, "ipam", "")
    everywhere = _exclusions(ipam, "ipam.")
    sources: list[tuple[str, object]] = []
    runtime = _table(document, "runtimeConfig", "")
    for index, found in enumerate(_list(runtime, "ipRanges", "runtimeConfig.")):
        sources.append((f"runtimeConfig.ipRanges[{index}]", found))
    if ipam.get("subnet") is not None:
        sources.append(("ipam", [ipam]))
    for index, found in enumerate(_list(ipam, "ranges", "ipam.")):
        sources.append((f"ipam.ranges[{index}]", found))
    if not sources:
        raise invalid("ipam.ranges", "no range is given")
    sets: list[list[Range]] = []
    for where, found in sources:
        if not isinstance(found, list) or not found:
            raise invalid(where, "must be a list of one or more ranges")
        single = where == "ipam"
        ranges = [
            _range(each, where if single else f"{where}[{index}]", everywhere)
            for index, each in enumerate(found)
        ]
        if any(each.family != ranges[0].family for each in ranges):
            raise invalid(where, "has ranges of IPv4 and of IPv6, which belong into two sets")
        earlier = [each for one in sets for each in one]
        for index, each in enumerate(ranges):
            for other in earlier + ranges[:index]:
                if each.overlaps(other):
                    raise invalid(where, f"range {each} overlaps with {other}")
        sets.append(ranges)
    return sets


def _exclusions(document: Document, where: str) -> list[tuple[int, int, int]]:
    """The family and both ends of each of ``exclude``, which has addresses and networks."""
    found = []
    for index, each in enumerate(_list(document, "exclude", where)):
        try:
            if isinstance(each, str) and "/" in each:
                family, number, length = parse_prefix(each)
                size = 1 << (BITS[family] - length)
            else:
                (family, number), size = parse(each), 1
        except ValueError as problem:
            raise invalid(f"{where}exclude[{index}]", problem) from None
        found.append((family, number & -size, number | (size - 1)))
    return found


def _range(found: object, where: str, everywhere: list[tuple[int, int, int]]) -> Range:
    """A range with the defaults of host-local: all of the subnet, whose first address is the gateway.

    Empty texts count as absent.
    """
    if not isinstance(found, dict):
        raise invalid(where, "must be an object with a subnet")
    try:
        family, subnet, length = parse_prefix(found.get("subnet"))
    except ValueError as problem:
        raise invalid(f"{where}.subnet", problem) from None
    size = 1 << (BITS[family] - length)
    if size < 4:
        raise invalid(f"{where}.subnet", f"{found['subnet']} is too small to allocate from")
    if subnet & (size - 1):
        network = f"{text_of(family, subnet & -size)}/{length}"
        raise invalid(f"{where}.subnet", f"{found['subnet']} has host bits set; the network is {network}")

    def address(key: str, default: int) -> int:
        if found.get(key) in (None, ""):
            return default
        try:
            own, number = parse(found[key])
        except ValueError as problem:
            raise invalid(f"{where}.{key}", problem) from None
        if own != family or (key != "gateway" and number & -size != subnet):
            raise invalid(f"{where}.{key}", f"{found[key]} is not in {found['subnet']}")
        return number

    first = address("rangeStart", subnet + 1)
    # An IPv4 network's last address is for broadcast.
    last = address("rangeEnd", subnet + size - (2 if family == 4 else 1))
    if first > last:
        ends = f"{text_of(family, last)} is before rangeStart {text_of(family, first)}"
        raise invalid(f"{where}.rangeEnd", ends)
    gateway = address("gateway", subnet + 1)
    excluded = everywhere + _exclusions(found, f"{where}.")
    blocked = [(low, high) for kind, low, high in excluded if kind == family]
    return Range(family, first, last, length, text_of(family, gateway), [(gateway, gateway), *blocked])


def routes_of(document: Document) -> list[Document]:
    """The routes, addresses in canonical form. Raises IPAMError."""
    routes: list[Document] = []
    for index, each in enumerate(_list(_table(document, "ipam", ""), "routes", "ipam.")):
        where = f"ipam.routes[{index}]"
        if not isinstance(each, dict):
            raise invalid(where, "must be an object with dst")
        try:
            family, number, length = parse_prefix(each.get("dst"))
            route = {**each, "dst": f"{text_of(family, number)}/{length}"}
            if route.pop("gw", "") not in (None, ""):
                route["gw"] = canonical(each["gw"])
        except ValueError as problem:
            raise invalid(where, problem) from None
        routes.append(route)
    return routes


def resolv_conf(text: str) -> Document:
    """The ``dns`` of a result from a file like /etc/resolv.conf."""
    dns: Document = {}
    nameservers: list[str] = []
    search: list[str] = []
    options: list[str] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or words[0][0] in "#;":
            continue
        if words[0] == "nameserver":
            nameservers.append(words[1])
        elif words[0] == "domain":
            dns["domain"] = words[1]
        elif words[0] == "search":
            search += words[1:]
        elif words[0] == "options":
            options += words[1:]
    for key, found in (("nameservers", nameservers), ("search", search), ("options", options)):
        if found:
            dns[key] = found
    return dns


def resolv_conf_path(document: Document) -> str:
    """The file whose servers a result has; empty if none is configured. Raises IPAMError."""
    return _path(_table(document, "ipam", ""), "resolvConf")


def arguments(text: str) -> dict[str, str]:
    """CNI_ARGS, such as ``IgnoreUnknown=1;K8S_POD_NAME=web-0``. Raises IPAMError."""
    found = {}
    for pair in filter(None, text.split(";")):
        key, equals, value = pair.partition("=")
        if not equals or not pair.isprintable():
            raise IPAMError(INVALID_ENVIRONMENT, f"CNI_ARGS: {pair!r} is not KEY=VALUE")
        found[key] = value
    return found


def requested_addresses(document: Document, args: dict[str, str]) -> list[str]:
    """The addresses that CNI_ARGS, ``args.cni.ips`` and ``runtimeConfig.ips`` ask for. Raises IPAMError."""
    cni = _table(_table(document, "args", ""), "cni", "args.")
    sources = [
        ("args.cni.ips", _list(cni, "ips", "args.cni.")),
        ("runtimeConfig.ips", _list(_table(document, "runtimeConfig", ""), "ips", "runtimeConfig.")),
    ]
    found: list[str] = []
    if args.get("IP"):
        try:
            found.append(_bare(args["IP"]))
        except ValueError as problem:
            raise IPAMError(INVALID_ENVIRONMENT, f"CNI_ARGS: IP: {problem}") from None
    for where, listed in sources:
        for each in listed:
            try:
                found.append(_bare(each))
            except ValueError as problem:
                raise invalid(where, problem) from None
    return list(dict.fromkeys(found))


def _bare(text: object) -> str:
    """An address that may have a prefix length, without it."""
    return canonical(text.partition("/")[0] if isinstance(text, str) else text)


def valid_attachments(document: Document) -> set[tuple[str, str]]:
    """What GC is told of: container ids and interfaces that are still attached. Raises IPAMError."""
    key = "cni.dev/valid-attachments"
    if key not in document:
        raise invalid(key, "is missing, so that nobody says what is still attached")
    found = set()
    for index, each in enumerate(_list(document, key, "")):
        pair = (each.get("containerID"), each.get("ifname")) if isinstance(each, dict) else (None, None)
        if not isinstance(pair[0], str) or not isinstance(pair[1], str):
            raise invalid(f"{key}[{index}]", "must be an object with containerID and ifname")
        found.add((pair[0], pair[1]))
    return found
