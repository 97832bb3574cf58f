"""KRPC (BEP 5): one bencoded dictionary a datagram, which is a query, a response or an error.

What a message says beyond its frame (a target of 20 bytes, a port) is for whoever asks for it to check. Everything that
the frame needs is checked here, so that nobody above meets a message without an id or with a transaction of a kilobyte.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from p2pframe.model import PeerAddress
from p2pframe.protocols.mainline.bencode import BencodeError, Encodable, Value, decode, encode
from p2pframe.protocols.mainline.compact import unpack_address

GENERIC_ERROR: Final = 201
SERVER_ERROR: Final = 202
PROTOCOL_ERROR: Final = 203
METHOD_UNKNOWN: Final = 204
VALUE_TOO_BIG: Final = 205
BAD_SIGNATURE: Final = 206
SALT_TOO_BIG: Final = 207
CAS_MISMATCH: Final = 301
SEQUENCE_TOO_LOW: Final = 302

ID_BYTES: Final = 20
TRANSACTION_BYTES: Final = 32
"""The longest transaction that is echoed. Deployed nodes use 2 to 8; a longer one would make answers larger at the wish
of whoever forged a query's source."""
METHOD_BYTES: Final = 64
VERSION_BYTES: Final = 32
TEXT_BYTES: Final = 256
"""What is kept of an error's text: it is shown to people."""
_CONTAINERS: Final = 256
_UNORDERED: Final = 2
"""The message and its arguments may have their keys in any order. What lies in them (an item of BEP 44) may not."""


class Query:
    """A query: what is asked, and by whom. `arguments` has `id` too."""

    __slots__ = ("arguments", "id", "method", "read_only", "transaction", "version")

    def __init__(
        self,
        transaction: bytes,
        method: bytes,
        id: int,
        arguments: dict[bytes, Value],
        version: bytes = b"",
        read_only: bool = False,
    ) -> None:
        self.transaction = transaction
        self.method = method
        self.id = id
        self.arguments = arguments
        self.version = version
        self.read_only = read_only


class Response:
    """What a query is answered with. `values` has `id` too; `ip` is how the other end sees us (BEP 42)."""

    __slots__ = ("id", "ip", "transaction", "values", "version")

    def __init__(
        self,
        transaction: bytes,
        id: int,
        values: dict[bytes, Value],
        version: bytes = b"",
        ip: PeerAddress | None = None,
    ) -> None:
        self.transaction = transaction
        self.id = id
        self.values = values
        self.version = version
        self.ip = ip


class Refusal:
    """The error that a query is answered with: a code, and a text for people."""

    __slots__ = ("code", "ip", "text", "transaction")

    def __init__(self, transaction: bytes, code: int, text: str, ip: PeerAddress | None = None) -> None:
        self.transaction = transaction
        self.code = code
        self.text = text
        self.ip = ip


class Malformed(ValueError):
    """A datagram that is no message. `reason` is one of a few stable words.

    `transaction` is there where it is a query that may be refused (code 203), and None else: nothing but a query is
    ever answered, or two nodes could be made to refuse one another's refusals.
    """

    def __init__(self, reason: str, transaction: bytes | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.transaction = transaction


def parse(data: bytes) -> Query | Response | Refusal:
    """The message in a datagram. Raises Malformed."""
    try:
        message = decode(data, containers=_CONTAINERS, unordered=_UNORDERED)
    except BencodeError:
        raise Malformed("bencoding") from None
    if type(message) is not dict:
        raise Malformed("no dictionary")
    get = message.get
    transaction = get(b"t")
    if type(transaction) is not bytes or len(transaction) > TRANSACTION_BYTES:
        raise Malformed("transaction")
    version = get(b"v")
    if type(version) is not bytes or len(version) > VERSION_BYTES:
        version = b""
    kind = get(b"y")
    if kind == b"q":
        method, arguments = get(b"q"), get(b"a")
        if type(method) is not bytes or not 0 < len(method) <= METHOD_BYTES:
            raise Malformed("method", transaction)
        if type(arguments) is not dict:
            raise Malformed("arguments", transaction)
        identity = arguments.get(b"id")
        if type(identity) is not bytes or len(identity) != ID_BYTES:
            raise Malformed("id", transaction)
        return Query(transaction, method, int.from_bytes(identity, "big"), arguments, version, get(b"ro") == 1)
    if kind == b"r":
        values = get(b"r")
        if type(values) is not dict:
            raise Malformed("values")
        identity = values.get(b"id")
        if type(identity) is not bytes or len(identity) != ID_BYTES:
            raise Malformed("id")
        return Response(transaction, int.from_bytes(identity, "big"), values, version, _seen(get(b"ip")))
    if kind == b"e":
        error = get(b"e")
        if type(error) is not list or len(error) < 2:
            raise Malformed("error")
        code, text = error[0], error[1]
        if type(code) is not int or type(text) is not bytes:
            raise Malformed("error")
        return Refusal(transaction, code, text[:TEXT_BYTES].decode("utf-8", "replace"), _seen(get(b"ip")))
    raise Malformed("kind")


def query(
    transaction: bytes,
    method: bytes,
    own: bytes,
    arguments: Mapping[bytes, Encodable],
    version: bytes = b"",
    read_only: bool = False,
) -> bytes:
    """A query's datagram. `own` is our id; `arguments` are the others."""
    return addressed(asked(method, own, arguments, read_only), transaction, version)


def asked(method: bytes, own: bytes, arguments: Mapping[bytes, Encodable], read_only: bool = False) -> bytes:
    """The part of a query that is the same for everybody who is asked: `addressed` makes a datagram of it."""
    return b"d1:a%s1:q%d:%s%s" % (
        encode({**arguments, b"id": own}), len(method), method, b"2:roi1e" if read_only else b"",
    )  # fmt: skip


def addressed(question: bytes, transaction: bytes, version: bytes = b"") -> bytes:
    """The datagram of a query that `asked` has written."""
    return b"%s1:t%d:%s%s1:y1:qe" % (
        question,
        len(transaction),
        transaction,
        b"1:v%d:%s" % (len(version), version) if version else b"",
    )


def response(
    transaction: bytes, values: dict[bytes, Encodable] | dict[bytes, Value], ip: bytes = b"", version: bytes = b""
) -> bytes:
    """A response's datagram. `values` has our `id`; `ip` is the compact address of who asked (BEP 42), or empty."""
    return b"d%s1:r%s1:t%d:%s%s1:y1:re" % (
        b"2:ip%d:%s" % (len(ip), ip) if ip else b"",
        encode(values),
        len(transaction),
        transaction,
        b"1:v%d:%s" % (len(version), version) if version else b"",
    )


def told(transaction: bytes, own: bytes, nodes: bytes, token: bytes, ip: bytes, version: bytes) -> bytes:
    """What `response` makes of our id, nodes and a token, which most answers are, without a dictionary."""
    return b"d2:ip%d:%s1:rd2:id20:%s5:nodes%d:%s5:token%d:%se1:t%d:%s1:v%d:%s1:y1:re" % (
        len(ip), ip, own, len(nodes), nodes, len(token), token, len(transaction), transaction, len(version), version,
    )  # fmt: skip


def refusal(transaction: bytes, code: int, text: str, ip: bytes = b"", version: bytes = b"") -> bytes:
    """An error's datagram."""
    return b"d1:e%s%s1:t%d:%s%s1:y1:ee" % (
        encode([code, text.encode()]),
        b"2:ip%d:%s" % (len(ip), ip) if ip else b"",
        len(transaction),
        transaction,
        b"1:v%d:%s" % (len(version), version) if version else b"",
    )


def transaction_of(data: bytes) -> bytes | None:
    """The transaction of a datagram that looks like a response or an error, without decoding it; None for another.

    In a message with its keys in order, `t` is followed by `v` and `y` alone, so a look at the end will do; one that
    has its keys otherwise is found where `t` comes first, and missed else. What is found is a guess until `parse` has
    agreed: it may say that a datagram is worth parsing, nothing more.
    """
    if data.endswith((b"1:y1:re", b"1:y1:ee")):
        end = len(data) - 7
        low = max(0, end - _TAIL)
        at = data.rfind(b"1:t", low, end)
        while at >= 0:
            found = _short(data, at + 3)
            if found is not None:
                transaction, after = found
                if after == end:
                    return transaction
                if data[after : after + 3] == b"1:v":
                    version = _short(data, after + 3)
                    if version is not None and version[1] == end:
                        return transaction
            at = data.rfind(b"1:t", low, at + 2)
        return None
    if data.startswith(b"d1:t"):
        found = _short(data, 4)
        if found is not None and data[found[1] : found[1] + 6] in (b"1:y1:r", b"1:y1:e"):
            return found[0]
    return None


_TAIL = 3 + 3 + TRANSACTION_BYTES + 3 + 3 + VERSION_BYTES


def _short(data: bytes, at: int) -> tuple[bytes, int] | None:
    """The string of at most 32 bytes that starts at `at`, and where it ends."""
    colon = data.find(b":", at, at + 3)
    digits = data[at:colon] if colon >= 0 else b""
    if not digits.isdigit() or int(digits) > TRANSACTION_BYTES:
        return None
    end = colon + 1 + int(digits)
    return (data[colon + 1 : end], end) if end <= len(data) else None


def _seen(ip: Value | None) -> PeerAddress | None:
    """The address in `ip`, where it is one: nodes that know no BEP 42 leave it out, and some send rubbish."""
    if type(ip) is bytes and len(ip) in (6, 18):
        return _address(ip)
    return None


_address = lru_cache(maxsize=256)(unpack_address)
"""Nearly all who answer see us by the same address."""
