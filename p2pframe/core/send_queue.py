"""What one session could not give to its wire yet, in order. Made when there is something, gone when it is empty."""

from __future__ import annotations

from collections import deque

CHUNK = 65_536
"""Bytes given to the wire at once: it takes any length, and what it has can't be counted or taken back."""


class SendQueue:
    """The unsent bytes of a session; `size` counts them."""

    __slots__ = ("_chunks", "size")

    def __init__(self) -> None:
        self._chunks: deque[bytes | memoryview] = deque()
        self.size = 0

    def put(self, data: bytes) -> None:
        """Add at the end."""
        self._chunks.append(data)
        self.size += len(data)

    def take(self) -> bytes:
        """The next bytes for the wire, at most a `CHUNK`; empty where there are none."""
        if not self._chunks:
            return b""
        data = self._chunks[0]
        if len(data) > CHUNK:
            self._chunks[0] = memoryview(data)[CHUNK:]
            data = data[:CHUNK]
        else:
            self._chunks.popleft()
        self.size -= len(data)
        return bytes(data)
