"""Node ids that are bound to addresses (BEP 42): who owns one address can't choose what it is near to."""

from __future__ import annotations

from p2pframe.protocols.mainline.compact import pack_host

_MASK = bytes.fromhex("030f3fff")
_MASK6 = bytes.fromhex("0103070f1f3f7fff")
_POLYNOMIAL = 0x82F63B78
"""Castagnoli's, with its bits reversed."""


def _table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (_POLYNOMIAL if byte & 1 else 0)
        table.append(byte)
    return table


_TABLE = _table()


def crc32c(data: bytes | bytearray) -> int:
    """CRC-32C (RFC 3720, appendix B.4) of a few bytes."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def generate(host: str, entropy: bytes) -> int:
    """An id that fits `host`, from 20 random bytes: the last one is the `rand` of BEP 42.

    Raises ValueError where `host` is no IP address or `entropy` has another length.
    """
    if len(entropy) != 20:
        raise ValueError(f"an id is made of 20 random bytes, not {len(entropy)}")
    drawn = int.from_bytes(entropy, "big")
    return _prefix(pack_host(host), entropy[19]) << 139 | drawn & (1 << 139) - 1


def fits(identity: int, host: str) -> bool:
    """Whether a node at `host` may have this id. Private and loopback addresses are exempt; a name fits nothing."""
    try:
        packed = pack_host(host)
    except ValueError:
        return False
    return _exempt(packed) or identity >> 139 == _prefix(packed, identity & 0xFF)


def _prefix(packed: bytes, drawn: int) -> int:
    """The 21 bits that an id at this address begins with, for the last byte that it has."""
    masked = bytearray(a & b for a, b in zip(packed, _MASK if len(packed) == 4 else _MASK6, strict=False))
    masked[0] |= (drawn & 7) << 5
    return crc32c(masked) >> 11


def _exempt(packed: bytes) -> bool:
    """Addresses that mean another host on each network. BEP 42 lists IPv4's; IPv6's counterparts are RFC 4193, 4291."""
    first, second = packed[0], packed[1]
    if len(packed) == 4:
        return (
            first in (10, 127)
            or (first == 172 and 16 <= second < 32)
            or (first == 192 and second == 168)
            or (first == 169 and second == 254)
        )
    return first & 0xFE == 0xFC or (first == 0xFE and second & 0xC0 == 0x80) or packed == bytes(15) + b"\x01"
