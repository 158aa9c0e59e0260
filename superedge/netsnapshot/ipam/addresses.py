"""Addresses as numbers, and ranges of them (pure).

The module ``socket`` takes longer to import than all of this plugin. Its C half alone, which reads and writes
IPv6, takes a tenth of the plugin's own time, so it is imported where there is IPv6.
"""

BITS = {4: 32, 6: 128}


def parse(text: object) -> tuple[int, int]:
    """The family, 4 or 6, and the number of an address. Raises ValueError.

    An IPv4 address that is written as IPv6, such as ``::ffff:10.0.0.1``, is one of IPv4, as in host-local.
    """
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is not an IP address")
    try:
        if ":" not in text:
            return 4, _parse_ipv4(text)
        number = _parse_ipv6(text)
    except (OSError, ValueError):
        raise ValueError(f"{text!r} is not an IP address") from None
    return (4, number & 0xFFFFFFFF) if number >> 32 == 0xFFFF else (6, number)


def _parse_ipv4(text: str) -> int:
    number, parts = 0, text.split(".")
    for part in parts:
        value = int(part)
        if str(value) != part or not 0 <= value <= 255:  # no plus sign, space or leading zero
            raise ValueError(part)
        number = number << 8 | value
    if len(parts) != 4:
        raise ValueError(text)
    return number


def _parse_ipv6(text: str) -> int:
    from _socket import AF_INET6, inet_pton  # noqa: PLC0415

    return int.from_bytes(inet_pton(AF_INET6, text), "big")


def text_of(family: int, number: int) -> str:
    """An address as text, an IPv6 one in its shortest form (RFC 5952)."""
    if family == 4:
        return ".".join(map(str, number.to_bytes(4, "big")))
    from _socket import AF_INET6, inet_ntop  # noqa: PLC0415

    return inet_ntop(AF_INET6, number.to_bytes(16, "big"))


def canonical(text: object) -> str:
    """An address in the form that `text_of` gives. Raises ValueError."""
    return text_of(*parse(text))


def parse_prefix(text: object) -> tuple[int, int, int]:
    """The family, the address and the prefix length of ``10.0.0.0/24``. Raises ValueError."""
    address, slash, length = text.partition("/") if isinstance(text, str) else ("", "", "")
    try:
        family, number = parse(address)
    except ValueError:
        slash = ""
    if not slash or not (length.isascii() and length.isdigit()) or int(length) > BITS[family]:
        raise ValueError(f"{text!r} is not a network such as 10.1.0.0/16 or fd00:1::/64")
    return family, number, int(length)


class Range:
    """Addresses of one subnet from ``first`` to ``last``, both included.

    ``blocked`` are spans of numbers, sorted, that are never allocated: the gateway, and exclusions.
    """

    __slots__ = ("blocked", "family", "first", "gateway", "last", "length")

    def __init__(
        self, family: int, first: int, last: int, length: int, gateway: str, blocked: list[tuple[int, int]]
    ) -> None:
        self.family = family
        self.first = first
        self.last = last
        self.length = length
        self.gateway = gateway
        self.blocked = sorted(blocked)

    def __str__(self) -> str:
        return f"{text_of(self.family, self.first)}-{text_of(self.family, self.last)}"

    def overlaps(self, other: "Range") -> bool:
        """Whether both have an address in common."""
        return self.family == other.family and self.first <= other.last and other.first <= self.last

    def contains(self, family: int, number: int) -> bool:
        """Whether an address lies between both ends, blocked or not."""
        return family == self.family and self.first <= number <= self.last

    def blocked_until(self, number: int) -> int:
        """The end of the blocked span that a number is in, or -1."""
        for low, high in self.blocked:
            if low <= number <= high:
                return high
        return -1

    def allows(self, family: int, number: int) -> bool:
        """Whether an address may be allocated."""
        return self.contains(family, number) and self.blocked_until(number) < 0


def range_for(ranges: list[Range], address: str) -> Range | None:
    """The range of a set that an address may be allocated from."""
    family, number = parse(address)
    for each in ranges:
        if each.allows(family, number):
            return each
    return None


def next_free(ranges: list[Range], taken: set[str], after: str) -> str:
    """The first address that is not taken, round robin from behind ``after``; empty if there is none."""
    spans = [(each, each.first, each.last) for each in ranges]
    if after:
        family, number = parse(after)
        for index, each in enumerate(ranges):
            if each.contains(family, number):
                rest = spans[index + 1 :] + spans[:index]
                spans = [(each, number + 1, each.last), *rest, (each, each.first, number)]
                break
    for each, first, last in spans:
        number = first
        while number <= last:
            end = each.blocked_until(number)
            if end < 0:
                found = text_of(each.family, number)
                if found not in taken:
                    return found
                end = number
            number = end + 1
    return ""
