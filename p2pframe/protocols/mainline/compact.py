"""Compact addresses and nodes (BEP 5, BEP 32): 6 or 18 bytes an address, with 20 bytes of id before it a node."""

from __future__ import annotations

from socket import AF_INET, AF_INET6, inet_ntoa, inet_ntop, inet_pton
from struct import Struct
from typing import Final

from p2pframe.model import PeerAddress

NODE: Final = 26
"""Bytes of an IPv4 node."""
NODE6: Final = 38
"""Bytes of an IPv6 node."""

_NODE = Struct("!20s4sH")
_NODE6 = Struct("!20s16sH")
_ZEROS = bytes(10)
_MAPPED = bytes(10) + b"\xff\xff"
_LOOPBACK6 = bytes(15) + b"\x01"


def pack_host(host: str) -> bytes:
    """4 or 16 bytes of a textual address. Raises ValueError for anything else."""
    try:
        return inet_pton(AF_INET6 if ":" in host else AF_INET, host)
    except (OSError, ValueError):
        raise ValueError(f"{host!r} is no IP address: a compact address has no room for a name") from None


def unpack_host(packed: bytes) -> str:
    """The normalised text of 4 or 16 bytes; an IPv4-mapped address as IPv4. Raises ValueError for another length."""
    if len(packed) == 4:
        return inet_ntoa(packed)
    if len(packed) != 16:
        raise ValueError(f"an address has 4 or 16 bytes, this has {len(packed)}")
    if packed[:10] == _ZEROS:
        if packed[:12] == _MAPPED:
            return inet_ntoa(packed[12:])
        # C libraries write ::1.2.3.4 here, and everybody else in this program ::102:304.
        high, low = int.from_bytes(packed[12:14]), int.from_bytes(packed[14:])
        if packed[10:12] == b"\0\0" and high:
            return f"::{high:x}:{low:x}"
    return inet_ntop(AF_INET6, packed)


def pack_address(address: PeerAddress) -> bytes:
    """6 bytes for IPv4, 18 for IPv6. Raises ValueError for a name."""
    return pack_host(address.host) + address.port.to_bytes(2, "big")


def unpack_address(packed: bytes) -> PeerAddress:
    """From 6 or 18 bytes, any address and port, 0 too. Raises ValueError for another length."""
    size = len(packed)
    if size == 6:
        return PeerAddress(inet_ntoa(packed[:4]), packed[4] << 8 | packed[5])
    if size != 18:
        raise ValueError(f"a compact address has 6 or 18 bytes, this has {size}")
    return PeerAddress(unpack_host(packed[:16]), packed[16] << 8 | packed[17])


def pack_node(identity: int, address: PeerAddress) -> bytes:
    """26 bytes for IPv4, 38 for IPv6. Raises ValueError for a name."""
    return identity.to_bytes(20, "big") + pack_host(address.host) + address.port.to_bytes(2, "big")


def unpack_nodes(packed: bytes, size: int, most: int) -> list[tuple[int, PeerAddress]]:
    """Ids and addresses of the first `most` nodes of `size` bytes each (26: IPv4, 38: IPv6).

    Left out are those that can't be sent to: port 0, nobody's address, multicast, IPv4 written as IPv6. Whether the
    rest is worth asking (private addresses) is for the caller to say. Raises ValueError where the length is no
    multiple of `size`.
    """
    if size not in (NODE, NODE6):
        raise ValueError(f"a compact node has {NODE} or {NODE6} bytes, not {size}")
    if len(packed) % size:
        raise ValueError(f"{len(packed)} bytes are no multiple of {size}")
    if len(packed) > size * most:
        packed = packed[: size * most]
    number = int.from_bytes
    if size == NODE:
        return [
            (number(identity, "big"), PeerAddress(inet_ntoa(host), port))
            for identity, host, port in _NODE.iter_unpack(packed)
            if port and 0 < host[0] < 224
        ]
    return [
        (number(identity, "big"), PeerAddress(inet_ntop(AF_INET6, host), port))
        for identity, host, port in _NODE6.iter_unpack(packed)
        if port and host[0] != 0xFF and (host[:10] != _ZEROS or host == _LOOPBACK6)
    ]
