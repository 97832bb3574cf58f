"""Codes for one log-in each: made by whoever may read the node's admin key, good for ten minutes, taken once. No I/O.

`p2pframe admin link` makes one out of the key file in the node's data directory, without asking the node: who may read
that file may do all that the node can. A code says when it runs out and has a message authentication code by the key;
the node remembers the used ones until they would have run out.
"""

from __future__ import annotations

import hmac
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error

from p2pframe.interfaces import Entropy

KEY_BYTES = 32
LIFE = 600.0
"""Seconds that a code is good."""
AHEAD = 60.0
"""Seconds that the clock of whoever made a code may be ahead of the node's."""
USED = 1000
"""Used codes that are remembered; with more of them within their life no further ones are taken."""
_BODY = struct.Struct(">d12s")
_MAC = 16
OPERATOR, VIEWER = "operator", "viewer"
_FOR = {OPERATOR: b"p2pframe admin code", VIEWER: b"p2pframe admin viewer code"}
"""What a code is for is part of what its authentication code is made of: nobody makes more of it."""


def make_code(key: bytes, now: float, entropy: Entropy, role: str = OPERATOR) -> str:
    """A code that is good from now (unix time, seconds) for ten minutes, and makes an operator or a viewer."""
    body = _BODY.pack(now + LIFE, entropy.bytes(12))
    return urlsafe_b64encode(body + _mac(key, body, role)).decode().rstrip("=")


class Codes:
    """Takes each code once.

    `since` is when it began to take any (unix time): one made before that may have been used already, and who knew of
    it is gone.
    """

    def __init__(self, key: bytes, since: float = 0.0) -> None:
        self._key = key
        self._since = since
        self._used: dict[bytes, float] = {}

    def role_of(self, code: str) -> str | None:
        """What a code makes of whoever has it, used up or not; None for one that is not of our key."""
        body, mac = _body(code)
        if len(body) != _BODY.size:
            return None
        return next((role for role in _FOR if hmac.compare_digest(mac, _mac(self._key, body, role))), None)

    def take(self, code: str, now: float) -> str | None:
        """None where the code is good, and used from now on; else why it is not."""
        body = _body(code)[0]
        if self.role_of(code) is None:
            return "unknown"
        until, _ = _BODY.unpack(body)
        # `until` could be anything that the key's owner wrote, and no number compares with a NaN.
        if not now <= until <= now + LIFE + AHEAD:
            return "expired"
        if until - LIFE < self._since:
            return "older than the node's start"
        self._used = {used: end for used, end in self._used.items() if end >= now}
        if body in self._used:
            return "used"
        if len(self._used) >= USED:
            return "too many"
        self._used[body] = until
        return None


def _body(code: str) -> tuple[bytes, bytes]:
    """What a code says, and its authentication code."""
    try:
        raw = urlsafe_b64decode(code.encode("ascii") + b"=" * (-len(code) % 4))
    except (UnicodeEncodeError, Base64Error, ValueError):
        return b"", b""
    return raw[: _BODY.size], raw[_BODY.size :]


def _mac(key: bytes, body: bytes, role: str = OPERATOR) -> bytes:
    return hmac.digest(key, _FOR[role] + body, "sha256")[:_MAC]
