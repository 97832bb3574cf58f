"""Write tokens (BEP 5): who announces must have asked us before, from the same address, for the same infohash.

A token is a keyed hash of both, so nothing is stored for it. Two secrets are good at a time: a token holds for one to
two rotations.
"""

from __future__ import annotations

from hashlib import blake2b

from p2pframe.interfaces import Entropy

BYTES = 8


class Tokens:
    """Makes and checks tokens; `rotation` is how long a secret makes new ones, in seconds."""

    __slots__ = ("_before", "_entropy", "_now", "_since", "rotation")

    def __init__(self, entropy: Entropy, rotation: float) -> None:
        self.rotation = rotation
        self._entropy = entropy
        self._now = blake2b(key=entropy.bytes(32), digest_size=BYTES)
        self._before = blake2b(key=entropy.bytes(32), digest_size=BYTES)
        self._since = 0.0

    def make(self, host: str, target: bytes, now: float) -> bytes:
        """A token for an address and a target (an infohash, or that of an item)."""
        self._rotate(now)
        return _digest(self._now, host, target)

    def good(self, token: object, host: str, target: bytes, now: float) -> bool:
        """Whether it is one that we gave to this address for this target, lately."""
        self._rotate(now)
        return token == _digest(self._now, host, target) or token == _digest(self._before, host, target)

    def _rotate(self, now: float) -> None:
        if now - self._since < self.rotation:
            return
        fresh = blake2b(key=self._entropy.bytes(32), digest_size=BYTES)
        # After a silence of two rotations the latest secret is too old as well.
        old = now - self._since >= 2 * self.rotation
        self._before = blake2b(key=self._entropy.bytes(32), digest_size=BYTES) if old else self._now
        self._now = fresh
        self._since += (now - self._since) // self.rotation * self.rotation


def _digest(keyed: blake2b, host: str, target: bytes) -> bytes:
    state = keyed.copy()
    state.update(target + host.encode())
    return state.digest()
