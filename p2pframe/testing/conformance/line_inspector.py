"""A stand-in for a protocol that can be inspected: every line is a message."""

from __future__ import annotations

from collections.abc import Sequence

from zope.interface import implementer, provider

from p2pframe.interfaces import IInspectable, IInspector, InspectedMessage

LONGEST = 10_000
"""Bytes of a line; a longer one is parted."""


@implementer(IInspector)
class StandInInspector:
    """Lines of the type that their first word names; `!` in one is a mistake."""

    def __init__(self) -> None:
        self._held = b""

    @property
    def held(self) -> int:
        """Bytes of a line that has no end yet."""
        return len(self._held)

    def feed(self, data: bytes) -> Sequence[InspectedMessage]:
        """The lines that are whole now."""
        self._held += data
        found: list[InspectedMessage] = []
        while True:
            end = self._held.find(b"\n", 0, LONGEST) + 1
            if not end and len(self._held) < LONGEST:
                return found
            line, self._held = self._held[: end or LONGEST], self._held[end or LONGEST :]
            text = line.decode("latin-1").rstrip("\n")
            error = "it has a !" if "!" in text else "" if end else "it is too long"
            found.append(InspectedMessage(text.split(" ")[0][:20] or "empty", line, {"text": text[:1000]}, error))

    def end(self) -> Sequence[InspectedMessage]:
        """What is left has no end."""
        held, self._held = self._held, b""
        return [InspectedMessage("", held, error="the stream ends within a line")] if held else []


@implementer(IInspectable)
@provider(IInspectable)
class StandInInspectable:
    """A protocol of lines, as far as somebody looks on."""

    @classmethod
    def inspector(cls, way: str) -> IInspector:
        """Both ways are alike."""
        return StandInInspector()
