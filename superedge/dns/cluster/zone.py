"""Which names there are, and their records."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from typing import NamedTuple

from superedge.dns.cluster.objects import Endpoint, Port, Service, Slice
from superedge.dns.packing import Record, soa_record
from superedge.dns.wire import AAAA, ANY, CNAME, NS, PTR, SRV, TXT, A, labels, wire_name
from superedge.kube.reflector import Key

VERSION = b"1.1.0"
"""Of the specification."""
_POD = re.compile(rb"[0-9a-f]+(-[0-9a-f]*)+")
REVERSE = (b"\x07in-addr\x04arpa\0", b"\x03ip6\x04arpa\0")


class Found(NamedTuple):
    """A name that is the zone's: whether it exists, its records of the type asked, what goes with them."""

    exists: bool
    records: Sequence[Record] = ()
    additional: Sequence[Record] = ()
    zone: bytes = b""
    """Whose SOA goes with an answer without records."""


_ABSENT = Found(False)
_NODATA = Found(True)


class ClusterZone:
    """Records for the Services and EndpointSlices that are put in; the zone is ``domain``."""

    def __init__(self, domain: str, ttl: int, addresses: Sequence[bytes], pods: bool) -> None:
        """``addresses``: this server's, packed, for the zone's NS. ``pods``: answer ``1-2-3-4.NS.pod``."""
        self.name = wire_name(domain)
        self._depth = len(labels(self.name))
        self._ttl = ttl
        self._own = addresses
        self._pods = pods
        self.services: dict[Key, Service] = {}
        self.slices: dict[Key, Slice] = {}
        self.serial = 1
        """Of the SOA; grows with each change."""
        self._namespaces: dict[str, int] = {}
        self._by_cluster_ip: dict[bytes, Key] = {}
        self._slices_of: dict[Key, dict[str, Slice]] = {}
        self._slices_at: dict[bytes, set[Key]] = {}

    def put_service(self, key: Key, service: Service | None) -> None:
        """A Service came, changed or, with None, went."""
        self.serial += 1
        old = self.services.pop(key, None)
        if old is not None:
            for address in old.addresses:
                if self._by_cluster_ip.get(address) == key:
                    del self._by_cluster_ip[address]
            self._namespaces[key.namespace] -= 1
            if not self._namespaces[key.namespace]:
                del self._namespaces[key.namespace]
        if service is not None:
            self.services[key] = service
            self._namespaces[key.namespace] = self._namespaces.get(key.namespace, 0) + 1
            for address in service.addresses:
                self._by_cluster_ip[address] = key

    def put_slice(self, key: Key, found: Slice | None) -> None:
        """An EndpointSlice came, changed or, with None, went."""
        self.serial += 1
        old = self.slices.pop(key, None)
        if old is not None:
            owner = Key(key.namespace, old.service)
            siblings = self._slices_of[owner]
            del siblings[key.name]
            if not siblings:
                del self._slices_of[owner]
            for address in _addresses(old):
                holders = self._slices_at.get(address, set())
                holders.discard(key)
                if not holders:
                    self._slices_at.pop(address, None)
        if found is not None:
            self.slices[key] = found
            self._slices_of.setdefault(Key(key.namespace, found.service), {})[key.name] = found
            for address in _addresses(found):
                self._slices_at.setdefault(address, set()).add(key)

    def soa(self) -> Record:
        """The zone's SOA."""
        return soa_record(self.name, self._ttl, b"\x02ns\x03dns" + self.name, self.serial)

    def find(self, name: bytes, kind: int) -> Found | None:
        """What is known of a name in wire form and lower case; None when it is none of the zone's.

        A reverse name is the zone's when a Service or a headless Service's endpoint has the address.
        """
        parts = labels(name)
        if len(parts) >= self._depth and name[-len(self.name) :] == self.name:
            if _joined(parts[len(parts) - self._depth :]) != self.name:
                return None
            try:
                above = [part.decode("ascii") for part in parts[: len(parts) - self._depth]]
            except UnicodeDecodeError:
                return _ABSENT
            return self._below(name, above[::-1], kind)
        if name.endswith(REVERSE):
            return self._reverse(name, parts, kind)
        return None

    def _below(self, name: bytes, path: list[str], kind: int) -> Found:
        """``path`` are the labels from the zone outwards."""
        match path:
            case []:
                server = Record(name, NS, self._ttl, b"\x02ns\x03dns" + self.name)
                return _of_kind([self.soa(), server], kind)
            case ["svc"] | ["dns"]:
                return _NODATA
            case ["pod", *rest] if self._pods:
                return self._pod(name, rest, kind)
            case ["dns-version"]:
                return _of_kind([Record(name, TXT, self._ttl, bytes([len(VERSION)]) + VERSION)], kind)
            case ["dns", "ns"]:
                return self._hosts(name, self._own, kind)
            case ["svc", namespace]:
                return _NODATA if namespace in self._namespaces else _ABSENT
            case ["svc", namespace, service, *rest]:
                return self._service(name, Key(namespace, service), rest, kind)
        return _ABSENT

    def _service(self, name: bytes, key: Key, rest: list[str], kind: int) -> Found:
        service = self.services.get(key)
        if service is None:
            return _ABSENT
        if service.external:
            return _ABSENT if rest else self._external(name, service)
        endpoints = self._endpoints(key, service)
        if service.headless and not endpoints:
            return _ABSENT
        match rest:
            case []:
                addresses = service.addresses
                if service.headless:
                    addresses = tuple(dict.fromkeys(a for e, _ in endpoints for a in e.addresses))
                return self._hosts(name, addresses, kind)
            case [protocol] if protocol.startswith("_"):
                ports = self._all_ports(service, endpoints)
                return _NODATA if any("_" + p.protocol == protocol for p in ports) else _ABSENT
            case [hostname] if service.headless:
                own = [a for e, _ in endpoints if e.hostname == hostname for a in e.addresses]
                return self._hosts(name, tuple(dict.fromkeys(own)), kind) if own else _ABSENT
            case [protocol, port] if protocol.startswith("_") and port.startswith("_"):
                return self._srv(name, key, service, (port[1:], protocol[1:]), kind)
        return _ABSENT

    def _external(self, name: bytes, service: Service) -> Found:
        try:
            target = wire_name(service.external)
        except ValueError:
            return _NODATA
        return Found(True, [Record(name, CNAME, self._ttl, target)])

    def _endpoints(self, key: Key, service: Service) -> list[tuple[Endpoint, Slice]]:
        """Those that are published, of a headless service."""
        if not service.headless:
            return []
        return [
            (endpoint, found)
            for found in self._slices_of.get(key, {}).values()
            for endpoint in found.endpoints
            if endpoint.ready or service.unready
        ]

    @staticmethod
    def _all_ports(service: Service, endpoints: list[tuple[Endpoint, Slice]]) -> Iterator[Port]:
        yield from service.ports
        for _, found in endpoints:
            yield from found.ports

    def _srv(self, name: bytes, key: Key, service: Service, port: tuple[str, str], kind: int) -> Found:
        base = _joined([key.name.encode(), key.namespace.encode(), b"svc"])[:-1] + self.name
        targets: dict[tuple[bytes, int], tuple[bytes, ...]] = {}
        if not service.headless:
            for own in service.ports:
                if (own.name, own.protocol) == port:
                    targets[base, own.number] = service.addresses
        for endpoint, found in self._endpoints(key, service):
            for own in found.ports:
                if (own.name, own.protocol) == port:
                    at = (_joined([endpoint.hostname.encode()])[:-1] + base, own.number)
                    targets[at] = (*targets.get(at, ()), *endpoint.addresses)
        if not targets:
            return _ABSENT
        if kind not in (SRV, ANY):
            return _NODATA
        weight = max(1, 100 // len(targets)).to_bytes(2, "big")
        records = [
            Record(name, SRV, self._ttl, b"\0\0" + weight + number.to_bytes(2, "big") + target)
            for target, number in targets
        ]
        glue = {
            self._host(target, address): None
            for (target, _), addresses in targets.items()
            for address in addresses
        }
        return Found(True, records, list(glue))

    def _pod(self, name: bytes, rest: list[str], kind: int) -> Found:
        if len(rest) < 2:
            return _NODATA
        if len(rest) > 2 or not _POD.fullmatch(rest[1].encode()):
            return _ABSENT
        for separator in (".", ":"):
            try:
                return self._hosts(name, [ip_address(rest[1].replace("-", separator)).packed], kind)
            except ValueError:
                continue
        return _ABSENT

    def _reverse(self, name: bytes, parts: list[bytes], kind: int) -> Found | None:
        address = _reverse_address(parts)
        if address is None:
            return None
        targets: list[bytes] = []
        owner = self._by_cluster_ip.get(address)
        if owner is not None:
            targets.append(self._service_name(owner))
        for key in sorted(self._slices_at.get(address, ())):
            found = self.slices[key]
            service_key = Key(key.namespace, found.service)
            service = self.services.get(service_key)
            if service is None or not service.headless:
                continue
            targets += (
                _joined([endpoint.hostname.encode()])[:-1] + self._service_name(service_key)
                for endpoint in found.endpoints
                if address in endpoint.addresses and (endpoint.ready or service.unready)
            )
        if not targets:
            return None
        records = [Record(name, PTR, self._ttl, target) for target in dict.fromkeys(targets)]
        return _of_kind(records, kind)._replace(zone=name)

    def _service_name(self, key: Key) -> bytes:
        return _joined([key.name.encode(), key.namespace.encode(), b"svc"])[:-1] + self.name

    def _hosts(self, name: bytes, addresses: Sequence[bytes], kind: int) -> Found:
        return _of_kind([self._host(name, address) for address in addresses], kind)

    def _host(self, name: bytes, address: bytes) -> Record:
        return Record(name, A if len(address) == 4 else AAAA, self._ttl, address)


def _of_kind(records: list[Record], kind: int) -> Found:
    return Found(True, [record for record in records if kind in (record.kind, ANY)])


def _addresses(found: Slice) -> set[bytes]:
    return {address for endpoint in found.endpoints for address in endpoint.addresses}


def _joined(parts: Sequence[bytes]) -> bytes:
    return b"".join(bytes([len(part)]) + part for part in parts) + b"\0"


def _reverse_address(parts: list[bytes]) -> bytes | None:
    """The packed address that the labels of a reverse name stand for (RFC 1035 3.5, RFC 3596 2.5)."""
    digits = parts[-3::-1]
    try:
        if parts[-2] == b"in-addr" and len(digits) == 4:
            return ip_address(b".".join(digits).decode("ascii")).packed
        if parts[-2] == b"ip6" and len(digits) == 32 and all(len(digit) == 1 for digit in digits):
            return bytes.fromhex(b"".join(digits).decode("ascii"))
    except ValueError:
        pass
    return None
