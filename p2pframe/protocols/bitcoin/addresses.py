"""Gossiped addresses: addr, addrv2 (BIP155), and the two of a version message; to and from the model's values.

An entry stays a plain tuple with the network's id and the raw address until someone wants to dial it.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
from collections.abc import Sequence
from hashlib import sha3_256
from struct import Struct
from struct import error as StructError
from typing import NamedTuple

from p2pframe.model import PeerAddress
from p2pframe.protocols.bitcoin.wire import MAX_COMPACT, MalformedMessage, compact_size, read_compact, read_count

MAX_ADDRESSES = 1000
MAX_ADDRESS_LENGTH = 512

IPV4 = 1
IPV6 = 2
TORV2 = 3
TORV3 = 4
I2P = 5
CJDNS = 6
YGGDRASIL = 7
ADDRESS_LENGTHS = {IPV4: 4, IPV6: 16, TORV2: 10, TORV3: 32, I2P: 32, CJDNS: 16, YGGDRASIL: 16}
"""BIP155's table of networks: their ids and how long their addresses are, in bytes."""

_MAPPED = bytes(10) + b"\xff\xff"
# IPv6 ranges that embed something else: OnionCat (Tor v2), and Core's own for names.
_ONIONCAT = bytes.fromhex("fd87d87eeb43")
_INTERNAL = bytes.fromhex("fd6b88c08724")
_EMBEDDED = (_MAPPED, _ONIONCAT, _INTERNAL)

_ADDR_ENTRY = Struct("<IQ16s2s")
_U32 = Struct("<I")
_LEGACY = Struct("<Q16s2s")


class NetworkAddress(NamedTuple):
    """An address as gossip carries it: last seen (unix seconds), services, BIP155's network id, raw bytes, port."""

    time: int
    services: int
    network: int
    address: bytes
    port: int


def _split_legacy(raw: bytes) -> tuple[int, bytes] | None:
    """Network and address of 16 bytes; None for what embeds a network that no longer exists, or no network."""
    if raw.startswith(_MAPPED):
        return IPV4, raw[12:]
    if raw.startswith(_EMBEDDED):
        return None
    return IPV6, raw


def decode_addr(payload: bytes) -> list[NetworkAddress]:
    """The addresses of an addr message; TooMany over 1000. IPv4 comes out as IPv4; Tor v2 is left out (BIP155)."""
    count, at = read_count(payload, 0, MAX_ADDRESSES, "addr")
    if len(payload) - at != count * _ADDR_ENTRY.size:
        raise MalformedMessage(f"{len(payload) - at} bytes for {count} entries of {_ADDR_ENTRY.size}", "addr")
    found: list[NetworkAddress] = []
    for time, services, raw, port in _ADDR_ENTRY.iter_unpack(memoryview(payload)[at:]):
        place = _split_legacy(raw)
        if place is not None:
            found.append(NetworkAddress(time, services, place[0], place[1], int.from_bytes(port, "big")))
    return found


def encode_addr(entries: Sequence[NetworkAddress]) -> bytes:
    """An addr payload of the IPv4 and IPv6 entries: it can carry no others. ValueError over 1000."""
    body: list[bytes] = []
    for time, services, network, address, port in entries:
        if network in (IPV4, IPV6):
            raw = _MAPPED + address if network == IPV4 else address
            body.append(_ADDR_ENTRY.pack(time, services, raw, port.to_bytes(2, "big")))
    if len(body) > MAX_ADDRESSES:
        raise ValueError(f"{len(body)} addresses: peers hang up on more than {MAX_ADDRESSES}")
    return compact_size(len(body)) + b"".join(body)


def decode_addrv2(payload: bytes) -> list[NetworkAddress]:
    """The addresses of an addrv2 message (BIP155); TooMany over 1000.

    Left out: networks without a number in BIP155, Tor v2, IPv6 addresses that embed another network, and addresses
    outside their network's range. MalformedMessage for an address of over 512 bytes, or of the wrong length for its
    network.
    """
    count, at = read_count(payload, 0, MAX_ADDRESSES, "addrv2")
    total = len(payload)
    found: list[NetworkAddress] = []
    keep, make, read_time, lengths = found.append, NetworkAddress._make, _U32.unpack_from, ADDRESS_LENGTHS
    try:
        for _ in range(count):
            (time,) = read_time(payload, at)
            services = payload[at + 4]
            if services < 0xFD:
                at += 5
            else:
                services, at = read_compact(payload, at + 4, MAX_COMPACT)
            network = payload[at]
            length = payload[at + 1]
            if length < 0xFD:
                at += 2
            else:
                length, at = read_compact(payload, at + 1)
                if length > MAX_ADDRESS_LENGTH:
                    raise MalformedMessage(f"an address of {length} bytes", f"addrv2 at byte {at}")
            end = at + length
            expected = lengths.get(network)
            if expected is None:
                # A network of later: its entries can't be checked, so they are not passed on (BIP155).
                at = end + 2
                continue
            if length != expected:
                raise MalformedMessage(f"network {network} with an address of {length} bytes", f"addrv2 at byte {at}")
            address = payload[at:end]
            port = payload[end] << 8 | payload[end + 1]
            at = end + 2
            if network == IPV4 or _in_range(network, address):
                keep(make((time, services, network, address, port)))
    except (IndexError, StructError):
        raise MalformedMessage("ends inside an address", "addrv2") from None
    if at != total:
        what = "ends inside an address" if at > total else f"{total - at} bytes too many"
        raise MalformedMessage(what, "addrv2")
    return found


def _in_range(network: int, address: bytes) -> bool:
    """True where the address is one that its network can have (BIP155, appendices A, D and E)."""
    if network == IPV6:
        return not address.startswith(_EMBEDDED)
    if network == CJDNS:
        return address[0] == 0xFC
    if network == YGGDRASIL:
        return address[0] >> 1 == 1
    return network != TORV2


def encode_addrv2(entries: Sequence[NetworkAddress]) -> bytes:
    """An addrv2 payload. ValueError over 1000 entries, and for an address that does not have its network's length."""
    if len(entries) > MAX_ADDRESSES:
        raise ValueError(f"{len(entries)} addresses: peers hang up on more than {MAX_ADDRESSES}")
    parts = [compact_size(len(entries))]
    for time, services, network, address, port in entries:
        if ADDRESS_LENGTHS.get(network) != len(address):
            raise ValueError(f"network {network} with an address of {len(address)} bytes")
        parts += (
            _U32.pack(time),
            compact_size(services),
            bytes((network, len(address))),
            address,
            port.to_bytes(2, "big"),
        )
    return b"".join(parts)


def peer_address(entry: NetworkAddress) -> PeerAddress | None:
    """Where an entry says a peer is; None where that can't be dialled: port 0 (except I2P, which has none), Tor v2."""
    network, address, port = entry.network, entry.address, entry.port
    if network == I2P:
        return PeerAddress(_i2p_name(address), port, "i2p")
    if not port:
        return None
    if network == IPV4:
        return PeerAddress(".".join(map(str, address)), port)
    if network == TORV3:
        return PeerAddress(_onion_name(address), port, "onion")
    if network in (IPV6, CJDNS, YGGDRASIL):
        return PeerAddress(str(ipaddress.IPv6Address(address)), port)
    return None


def network_address(address: PeerAddress, services: int, time: int) -> NetworkAddress | None:
    """The entry that gossips `address`; None for a DNS name, or a name that is not a Tor v3 or I2P address."""
    if address.kind == "ip":
        ip = ipaddress.ip_address(address.host)
        raw = ip.packed
        if ip.version == 4:
            network = IPV4
        elif raw[0] == 0xFC:
            network = CJDNS
        elif raw[0] >> 1 == 1:
            network = YGGDRASIL
        elif (place := _split_legacy(raw)) is not None:
            network, raw = place
        else:
            return None
        return NetworkAddress(time, services, network, raw, address.port)
    raw32 = _decode_name(address.host)
    if raw32 is None:
        return None
    return NetworkAddress(time, services, TORV3 if address.kind == "onion" else I2P, raw32, address.port)


def _onion_name(key: bytes) -> str:
    """The .onion name of a Tor v3 public key (BIP155, appendix B)."""
    check = sha3_256(b".onion checksum" + key + b"\x03").digest()[:2]
    return base64.b32encode(key + check + b"\x03").decode().lower() + ".onion"


def _i2p_name(digest: bytes) -> str:
    """The .b32.i2p name of a destination's SHA-256 (BIP155, appendix C)."""
    return base64.b32encode(digest).decode().rstrip("=").lower() + ".b32.i2p"


def _decode_name(host: str) -> bytes | None:
    """The 32 bytes in a Tor v3 or I2P name; None where the name is neither."""
    label, _, rest = host.partition(".")
    if (len(label), rest) not in ((56, "onion"), (52, "b32.i2p")):
        return None
    try:
        raw = base64.b32decode(label.upper() + "=" * (-len(label) % 8))
    except binascii.Error:
        return None
    key = raw[:32]
    # Spare bits and a checksum: only the one name that stands for these bytes is taken.
    return key if host == (_onion_name(key) if rest == "onion" else _i2p_name(key)) else None


def legacy_address(address: PeerAddress | None, services: int = 0) -> bytes:
    """The 26 bytes of an address in a version message; zeros for none, and for what they can't hold."""
    entry = network_address(address, services, 0) if address is not None else None
    if entry is None or len(entry.address) not in (4, 16):
        return _LEGACY.pack(services, bytes(16), bytes(2))
    raw = _MAPPED + entry.address if entry.network == IPV4 else entry.address
    return _LEGACY.pack(services, raw, entry.port.to_bytes(2, "big"))


def read_legacy_address(raw: bytes) -> PeerAddress | None:
    """The address in 26 bytes of a version message (how the peer sees us); None where it can't be dialled."""
    services, address, port = _LEGACY.unpack(raw)
    place = _split_legacy(address)
    if place is None or not any(address):
        return None
    return peer_address(NetworkAddress(0, services, place[0], place[1], int.from_bytes(port, "big")))
