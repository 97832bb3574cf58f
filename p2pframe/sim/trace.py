"""The trace: one running hash over every delivery and each host's end state. Equal traces, equal runs."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from struct import Struct
from typing import Protocol

_HEAD = Struct("<dII").pack

Watcher = Callable[[float, str, bytes], None]
"""Told of each delivery: virtual time, which way, what arrived."""


class Way(Protocol):
    """One direction between two ends: what a delivery names. `label` is for people: `a-0:49153 > a-1:18444 tcp`."""

    key: bytes

    @property
    def label(self) -> str:
        """The ends."""


class Trace:
    """Hashes (time, ends, bytes) of each delivery. `checkpoints` are (virtual time, digest) now and then.

    `every` is the number of deliveries between two checkpoints; it doubles when there are many, and so their number
    stays bounded and equal in equal runs.
    """

    def __init__(self, every: int = 1024) -> None:
        self.deliveries = 0
        self.bytes = 0
        self.checkpoints: list[tuple[float, str]] = []
        self.watcher: Watcher | None = None
        self._every = every
        self._next = every
        self._hash = blake2b(digest_size=16, person=b"p2pframe-trace")

    def delivery(self, time: float, way: Way, data: bytes) -> None:
        """Note bytes (or an event of a connection, as a few bytes of text) that reached an end."""
        size = len(data)
        self._hash.update(_HEAD(time, len(way.key), size) + way.key + data)
        self.deliveries += 1
        self.bytes += size
        if self.deliveries == self._next:
            self._checkpoint(time)
        if self.watcher is not None:
            self.watcher(time, way.label, data)

    def state(self, name: str, data: bytes) -> None:
        """Note the end state of a host."""
        text = name.encode()
        self._hash.update(b"state" + _HEAD(0.0, len(text), len(data)) + text + data)

    def digest(self) -> str:
        """The hash so far, 32 hex digits."""
        return self._hash.hexdigest()

    def _checkpoint(self, time: float) -> None:
        self.checkpoints.append((time, self.digest()))
        if len(self.checkpoints) >= 1024:
            del self.checkpoints[::2]
            self._every *= 2
        self._next += self._every
