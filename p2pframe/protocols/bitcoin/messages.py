"""The small messages: the handshake, what is negotiated in it, ping, and the switches of an open session.

A `decode_` function takes a payload and gives a value, or raises MalformedMessage; an `encode_` function gives a
payload. Inventories, headers and locators are in inventory.py, gossiped addresses in addresses.py, `tx` and `block` in
transaction.py and block.py.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import NamedTuple

from p2pframe.protocols.bitcoin.transaction import MAX_MONEY, MAX_STANDARD_WEIGHT
from p2pframe.protocols.bitcoin.wire import MalformedMessage, Reader, var_bytes

KINDS = (
    "addr", "addrv2", "block", "blocktxn", "cfcheckpt", "cfheaders", "cfilter", "cmpctblock", "feature", "feefilter",
    "filteradd", "filterclear", "filterload", "getaddr", "getblocks", "getblocktxn", "getcfcheckpt", "getcfheaders",
    "getcfilters", "getdata", "getheaders", "headers", "inv", "mempool", "merkleblock", "notfound", "ping", "pong",
    "reject", "sendaddrv2", "sendcmpct", "sendheaders", "sendtxrcncl", "tx", "verack", "version", "wtxidrelay",
)  # fmt: skip
"""Every message type that the network knows: those have counters of their own, all others share one."""

LONGEST = {
    "version": 4096, "verack": 64, "ping": 64, "pong": 64, "feature": 1024, "feefilter": 64, "getaddr": 64,
    "mempool": 64, "reject": 1024, "sendaddrv2": 64, "sendcmpct": 64, "sendheaders": 64, "sendtxrcncl": 64,
    "tx": MAX_STANDARD_WEIGHT, "wtxidrelay": 64,
}  # fmt: skip
"""The longest payloads, in bytes, that are of use: of the small types with room for versions to come, of transactions
what is relayed (a weight is never less than the size). Whatever is in a longer one, it is dropped, so that a peer can't
make us hold 4 MB of a ping. Lists are left out: their too many entries must be seen."""

MAX_USER_AGENT = 256
FEATURE_ID_LENGTH = (4, 80)
MAX_FEATURE_DATA = 512

NODE_NETWORK = 1
NODE_BLOOM = 4
NODE_WITNESS = 8
NODE_COMPACT_FILTERS = 64
NODE_NETWORK_LIMITED = 1024
NODE_P2P_V2 = 2048
SERVICE_NAMES = {
    NODE_NETWORK: "NETWORK",
    NODE_BLOOM: "BLOOM",
    NODE_WITNESS: "WITNESS",
    NODE_COMPACT_FILTERS: "COMPACT_FILTERS",
    NODE_NETWORK_LIMITED: "NETWORK_LIMITED",
    NODE_P2P_V2: "P2P_V2",
}

_NO_ADDRESS = bytes(26)
# Letters, digits and a few signs: what may appear of a peer's words in logs and on pages (as Core's SAFE_CHARS).
_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,;-_/:?@()+")

_VERSION_HEAD = Struct("<iQq")
_U64 = Struct("<Q")
_I64 = Struct("<q")
_SENDCMPCT = Struct("<BQ")


@lru_cache(maxsize=256)
def service_names(services: int) -> frozenset[str]:
    """The bits of a services field by name; a bit without a name is `BIT` and its number."""
    return frozenset(
        SERVICE_NAMES.get(1 << bit, f"BIT{bit}") for bit in range(services.bit_length()) if services >> bit & 1
    )


def service_bits(names: frozenset[str]) -> int:
    """The services field of these names; ValueError where a name is unknown."""
    bits = {name: bit for bit, name in SERVICE_NAMES.items()}
    unknown = sorted(names - bits.keys())
    if unknown:
        raise ValueError(f"unknown services {', '.join(unknown)}: known are {', '.join(sorted(bits))}")
    return sum(bits[name] for name in names)


class Version(NamedTuple):
    """What a peer says of itself first. `time` is unix seconds; `user_agent` raw bytes, see `agent`.

    `receiver` and `sender` are 26 bytes each: services, IPv6 or mapped IPv4 address, port (addresses.py reads them).
    `nonce` finds connections to oneself.
    """

    version: int
    services: int
    time: int
    receiver: bytes = _NO_ADDRESS
    sender: bytes = _NO_ADDRESS
    nonce: int = 0
    user_agent: bytes = b""
    start_height: int = -1
    relay: bool = True

    @property
    def agent(self) -> str:
        """The user agent with only the characters that are safe to show."""
        return "".join(sign for sign in self.user_agent.decode("latin-1") if sign in _SAFE)


def encode_version(version: Version) -> bytes:
    """A version payload. ValueError for a user agent that peers would refuse."""
    if len(version.user_agent) > MAX_USER_AGENT:
        raise ValueError(f"a user agent of {len(version.user_agent)} bytes: peers take {MAX_USER_AGENT}")
    return b"".join(
        (
            _VERSION_HEAD.pack(version.version, version.services, version.time),
            version.receiver,
            version.sender,
            _U64.pack(version.nonce),
            var_bytes(version.user_agent),
            version.start_height.to_bytes(4, "little", signed=True),
            b"\x01" if version.relay else b"\x00",
        )
    )


def decode_version(payload: bytes) -> Version:
    """A version payload, as Bitcoin Core reads it; MalformedMessage for half a field.

    What comes behind `receiver` may be missing from some field on, and what follows the relay flag is left to versions
    to come.
    """
    reader = Reader(payload, "version")
    number, services, time = reader.i32(), reader.u64(), reader.i64()
    receiver = reader.take(26)
    sender, nonce, user_agent, start_height, relay = _NO_ADDRESS, 0, b"", -1, True
    if reader.left:
        sender = reader.take(26)
        nonce = reader.u64()
    if reader.left:
        user_agent = reader.var_bytes(MAX_USER_AGENT)
    if reader.left:
        start_height = reader.i32()
    if reader.left:
        relay = reader.u8() != 0
    return Version(number, services, time, receiver, sender, nonce, user_agent, start_height, relay)


def decode_empty(payload: bytes, kind: str) -> None:
    """For verack, getaddr, mempool, sendaddrv2, sendheaders, wtxidrelay: MalformedMessage where there is a payload."""
    if payload:
        raise MalformedMessage(f"{len(payload)} bytes where none belong", kind)


def decode_nonce(payload: bytes, kind: str = "ping") -> bytes:
    """The 8 bytes of a ping or pong: kept as bytes, for they are only sent back and compared."""
    if len(payload) != 8:
        raise MalformedMessage(f"{len(payload)} bytes where a nonce has 8", kind)
    return payload


def encode_nonce(nonce: int) -> bytes:
    """The payload of a ping with a nonce of 64 bits."""
    return _U64.pack(nonce)


def decode_feefilter(payload: bytes) -> int:
    """The least fee rate, in satoshi per 1000 virtual bytes, of transactions that the peer wants told of (BIP133)."""
    if len(payload) != 8:
        raise MalformedMessage(f"{len(payload)} bytes where a fee rate has 8", "feefilter")
    rate: int = _I64.unpack(payload)[0]
    if not 0 <= rate <= MAX_MONEY:
        raise MalformedMessage(f"a fee rate of {rate}", "feefilter")
    return rate


def encode_feefilter(rate: int) -> bytes:
    """A feefilter payload; `rate` in satoshi per 1000 virtual bytes."""
    return _I64.pack(rate)


class SendCompact(NamedTuple):
    """How a peer wants blocks announced, if it wants compact ones (BIP152)."""

    high_bandwidth: bool
    version: int


def decode_sendcmpct(payload: bytes) -> SendCompact:
    """A sendcmpct payload; its flag must be 0 or 1 (BIP152)."""
    if len(payload) != 9:
        raise MalformedMessage(f"{len(payload)} bytes where 9 belong", "sendcmpct")
    flag, version = _SENDCMPCT.unpack(payload)
    if flag > 1:
        raise MalformedMessage(f"a flag of {flag}", "sendcmpct")
    return SendCompact(flag == 1, version)


def encode_sendcmpct(message: SendCompact) -> bytes:
    return _SENDCMPCT.pack(message.high_bandwidth, message.version)


class Feature(NamedTuple):
    """A feature that a peer supports, between version and verack (BIP434). Unknown ids are ignored."""

    id: bytes
    data: bytes


def decode_feature(payload: bytes) -> Feature:
    """A feature payload: an id of 4 to 80 bytes and at most 512 bytes of data, nothing else."""
    reader = Reader(payload, "feature")
    least, most = FEATURE_ID_LENGTH
    feature = Feature(reader.var_bytes(most, least), reader.var_bytes(MAX_FEATURE_DATA))
    reader.end()
    return feature


def encode_feature(feature: Feature) -> bytes:
    """A feature payload; ValueError where BIP434 forbids its lengths."""
    least, most = FEATURE_ID_LENGTH
    if not least <= len(feature.id) <= most or len(feature.data) > MAX_FEATURE_DATA:
        raise ValueError(f"a feature id has {least} to {most} bytes and at most {MAX_FEATURE_DATA} of data")
    return var_bytes(feature.id) + var_bytes(feature.data)


class Reject(NamedTuple):
    """A complaint of an old peer (BIP61): about which message, a code, and a reason in its words."""

    message: bytes
    code: int
    reason: bytes
    extra: bytes = b""


def decode_reject(payload: bytes) -> Reject:
    """A reject payload. Nodes stopped sending them; nothing may depend on one."""
    reader = Reader(payload, "reject")
    return Reject(reader.var_bytes(12), reader.u8(), reader.var_bytes(111), reader.take(reader.left))


def encode_reject(message: Reject) -> bytes:
    return var_bytes(message.message) + bytes([message.code]) + var_bytes(message.reason) + message.extra
