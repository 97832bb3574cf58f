"""Addresses for hosts, drawn from a seeded stream: where in the Internet a group is, and how concentrated.

IPv4 netgroups are /16s of the globally routable space, IPv6 ones /32s of 2000::/3, without what IANA keeps for special
purposes (RFC 6890 and its registries). How hosts fall over netgroups, and netgroups over AS numbers, follows Zipf's
law, roughly as in the networks that have been measured. No two groups share an address or an AS number, nor a netgroup
unless the ranges that they name do.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from itertools import accumulate
from random import Random
from typing import NamedTuple

from p2pframe.errors import P2PFrameError
from p2pframe.model import PeerAddress, netgroup
from p2pframe.sim.scenario import AddressesConfig, AddressRange, capacity

NETGROUP_ROOM = 60_000
"""Addresses that are drawn from one IPv4 /16 at the most: of 65,024, so that a free one is found soon."""
MOST_NETGROUPS = 20_000
"""Netgroups of one group: there are some 56,000 that are nobody else's."""

_SPECIAL_V4 = frozenset(
    prefix
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/16",
        "192.31.0.0/16", "192.52.0.0/16", "192.88.0.0/16", "192.168.0.0/16", "192.175.0.0/16", "198.18.0.0/15",
        "198.51.0.0/16", "203.0.0.0/16", "224.0.0.0/3",
    )
    for prefix in range(
        int(ip_network(text).network_address) >> 16, (int(ip_network(text).broadcast_address) >> 16) + 1
    )
)  # fmt: skip
"""The /16s that hold anything private, reserved, for multicast or for documents, whole."""
_SPECIAL_V6 = tuple(
    (int(ip_network(text).network_address) >> 96, int(ip_network(text).broadcast_address) >> 96)
    for text in ("2000::/16", "2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3ffe::/16", "3fff::/16")
)
"""The same of IPv6, by the first 32 bits: from, to."""
_SMALL_RANGES = 1 << 17
"""Of ranges with no more addresses than this all are listed, so that the last one is found too."""


class AddressError(P2PFrameError):
    """There are fewer addresses than a group wants; the text says of what."""


class Spot(NamedTuple):
    """One host's place in the Internet."""

    addresses: tuple[str, ...]
    asn: int


class AddressSpace:
    """What has been given out to the groups of one scenario."""

    def __init__(self) -> None:
        self._prefixes: set[tuple[int, int]] = set()
        self._addresses: set[str] = set()
        self._asns: set[int] = set()

    def draw(self, config: AddressesConfig, count: int, rng: Random) -> list[Spot]:
        """Places for `count` hosts. Raises `AddressError` where there are not as many addresses."""
        return self._in_ranges(config, count, rng) if config.ranges else self._in_netgroups(config, count, rng)

    # --- in netgroups ---

    def _in_netgroups(self, config: AddressesConfig, count: int, rng: Random) -> list[Spot]:
        each = max(config.ipv4, config.ipv6)
        size = min(config.netgroups or count, count * each, MOST_NETGROUPS)
        v4 = [self._prefix(4, rng) for _ in range(size if config.ipv4 else 0)]
        v6 = [self._prefix(6, rng) for _ in range(size if config.ipv6 else 0)]
        asns = [self._asn(rng) for _ in range(min(size, config.asns or size))]
        owner = [asns[index] for index in fall(size, len(asns), config.skew, rng)]
        where = fall(count * each, size, config.skew, rng)
        taken = [0] * size
        spots = []
        for host in range(count):
            # The first address of either family is in the same place: one host has one provider.
            mine = where[host * each : (host + 1) * each]
            addresses = []
            for number, index in enumerate(mine):
                if number < config.ipv4:
                    index = next((i for i in _from(index, size) if taken[i] < NETGROUP_ROOM), -1)
                    if index < 0:
                        raise AddressError(f"{size} netgroups have no room for {count * config.ipv4} addresses")
                    taken[index] += 1
                    mine[number] = index
                    addresses.append(self._address(4, v4[index], rng))
            addresses += [self._address(6, v6[index], rng) for index in mine[: config.ipv6]]
            spots.append(Spot(tuple(addresses), owner[mine[0]]))
        return spots

    def _prefix(self, version: int, rng: Random) -> int:
        for _ in range(100_000):
            if version == 4:
                prefix = rng.randrange(1 << 8, 224 << 8)
                special = prefix in _SPECIAL_V4
            else:
                prefix = rng.randrange(0x2000_0000, 0x4000_0000)
                special = any(first <= prefix <= last for first, last in _SPECIAL_V6)
            if not special and (version, prefix) not in self._prefixes:
                self._prefixes.add((version, prefix))
                return prefix
        raise AddressError(f"no netgroup of IPv{version} is left: the groups want too many")

    def _address(self, version: int, prefix: int, rng: Random) -> str:
        while True:
            if version == 4:
                low = rng.getrandbits(16)
                if low & 0xFF in (0, 0xFF):
                    continue
                text = str(IPv4Address(prefix << 16 | low))
            else:
                text = str(IPv6Address(prefix << 96 | rng.getrandbits(96)))
            if text not in self._addresses:
                self._addresses.add(text)
                return text

    def _asn(self, rng: Random) -> int:
        while True:
            asn = rng.randrange(1, 400_000)
            # Kept by IANA: AS_TRANS; documents, private use and what lies between the 16 and the 32 bit numbers.
            if asn != 23_456 and not 64_496 <= asn <= 131_071 and asn not in self._asns:
                self._asns.add(asn)
                return asn

    # --- in ranges ---

    def _in_ranges(self, config: AddressesConfig, count: int, rng: Random) -> list[Spot]:
        free = {
            version: self._free([one for one in config.ranges if one.version == version], rng) for version in (4, 6)
        }
        asns = [self._asn(rng) for _ in range(config.asns or 0)]
        owner: dict[str, int] = {}
        spots = []
        for _ in range(count):
            addresses = []
            for version, wanted in ((4, config.ipv4), (6, config.ipv6)):
                for _ in range(wanted):
                    address = next(free[version], None)
                    if address is None:
                        raise AddressError(f"no IPv{version} address of the ranges is left: another group has some")
                    addresses.append(address)
            group = netgroup(PeerAddress.of(addresses[0], 0))
            if group not in owner:
                # Each of them has a netgroup before one has two.
                fresh = asns[len(owner)] if len(owner) < len(asns) else 0
                owner[group] = fresh or (rng.choice(asns) if asns else self._asn(rng))
            spots.append(Spot(tuple(addresses), owner[group]))
        return spots

    def _free(self, ranges: Sequence[AddressRange], rng: Random) -> Iterator[str]:
        sizes = list(accumulate(capacity(one) for one in ranges))
        if not sizes:
            return
        for number in _numbers(sizes[-1], rng):
            which = bisect_right(sizes, number)
            one = ranges[which]
            offset = number - (sizes[which - 1] if which else 0) + (one.num_addresses > 2)
            text = str(ip_address(int(one.network_address) + offset))
            if text not in self._addresses:
                self._addresses.add(text)
                yield text


def fall(count: int, places: int, skew: float, rng: Random) -> list[int]:
    """The place of each of `count` things, in random order.

    Each place gets one first, as far as there are things; in the rest the n-th has a share of 1/n to the power of skew.
    """
    found = list(range(min(count, places)))
    weights = list(accumulate((n + 1) ** -skew for n in range(places)))
    found += rng.choices(range(places), cum_weights=weights, k=count - len(found))
    rng.shuffle(found)
    return found


def _numbers(size: int, rng: Random) -> Iterator[int]:
    """Numbers below `size` in random order; of many, some may come twice and not all may come."""
    if size <= _SMALL_RANGES:
        yield from rng.sample(range(size), size)
    else:
        for _ in range(size):
            yield rng.randrange(size)


def _from(index: int, size: int) -> Iterator[int]:
    yield index
    for step in range(1, size):
        yield (index + step) % size
