"""The upgrades of one session at work.

Bytes from the wire through each in config order, bytes to the wire the other way.

They shake hands one after another, each through those before it; only when the last is ready is the session's other end
proved.
"""

from __future__ import annotations

from collections.abc import Callable

from p2pframe.interfaces import IUpgradeState
from p2pframe.model import TransportInfo


class UpgradeChain:
    """The upgrades of one session.

    `to_wire` sends bytes; `ready` is called once, with what all of them proved together.
    """

    __slots__ = ("_info", "_ready", "_states", "_to_wire")

    def __init__(
        self,
        states: list[IUpgradeState],
        info: TransportInfo,
        to_wire: Callable[[bytes], None],
        ready: Callable[[TransportInfo], None],
    ) -> None:
        self._states = states
        self._info = info
        self._to_wire = to_wire
        self._ready = ready

    def start(self, index: int = 0) -> None:
        """Begin the handshake of one upgrade. Raises `HandshakeFailed`."""
        opening = self._states[index].start()
        if opening:
            self._send_below(opening, index)
        if self._states[index].ready:
            self._next(index)

    def receive(self, data: bytes) -> bytes:
        """Bytes from the wire, in any segmentation: those that come out at the top (none while they shake hands).

        Raises `HandshakeFailed` and `UnreadableStream`, as `IUpgradeState.receive` does.
        """
        for index, state in enumerate(self._states):
            was_ready = state.ready
            out = state.receive(data)
            if out.to_wire:
                self._send_below(out.to_wire, index)
            if not was_ready and state.ready:
                self._next(index)
            data = out.received
            if not data:
                break
        return data

    def send(self, data: bytes) -> bytes:
        """What a message of the conversation is on the wire."""
        for state in reversed(self._states):
            data = state.send(data)
        return data

    def _send_below(self, data: bytes, index: int) -> None:
        for state in reversed(self._states[:index]):
            data = state.send(data)
        self._to_wire(data)

    def _next(self, index: int) -> None:
        found = self._states[index].info()
        self._info = TransportInfo(
            peer_id=found.peer_id or self._info.peer_id,
            certificate=found.certificate or self._info.certificate,
            encryption=" ".join(filter(None, (self._info.encryption, found.encryption))),
        )
        if index + 1 < len(self._states):
            self.start(index + 1)
        else:
            self._ready(self._info)
