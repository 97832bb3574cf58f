"""What came in and went out of a network, by message type and in bytes: summed when someone asks, never per message."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from p2pframe.core.metrics import OTHER, Labels
from p2pframe.interfaces import Counter, Metrics
from p2pframe.model import SessionCounters

if TYPE_CHECKING:
    from p2pframe.core.datagrams import DatagramGate

UNKNOWN = "*"
"""What sessions count all types under that the protocol does not know."""


class Traffic:
    """The sums of one network, over its sessions of now and before and its datagrams.

    Sessions count for themselves. `count` brings the metrics up to what they and the datagrams have counted by then:
    it adds what is new, so the metrics never go back, and go on where a network is restarted.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._past_in: dict[str, int] = {}
        self._past_sizes: dict[str, int] = {}
        self._past_out: dict[str, int] = {}
        self._past_bytes = (0, 0)
        self._messages_in = _Follower(
            metrics.counter("messages_received_total", "Messages that came in, by type.", ("type",))
        )
        self._message_bytes_in = _Follower(
            metrics.counter("message_bytes_received_total", "Bytes of the messages that came in, by type.", ("type",))
        )
        self._messages_out = _Follower(
            metrics.counter("messages_sent_total", "Messages sent over sessions, by type.", ("type",))
        )
        self._bytes_in = _Follower(
            metrics.counter(
                "network_bytes_received_total", "Bytes that came in over sessions and datagrams, dropped ones too."
            )
        )
        self._bytes_out = _Follower(
            metrics.counter(
                "network_bytes_sent_total", "Bytes sent over sessions, before they are encrypted, and datagrams."
            )
        )

    def ended(self, session: SessionCounters) -> None:
        """A session is over: keep its sums."""
        for past, counted in (
            (self._past_in, session.messages_in),
            (self._past_sizes, session.message_bytes_in),
            (self._past_out, session.messages_out),
        ):
            past.update(_summed(past, (counted,)))
        self._past_bytes = self._past_bytes[0] + session.bytes_in, self._past_bytes[1] + session.bytes_out

    def messages(
        self, sessions: Sequence[SessionCounters], gates: Sequence[DatagramGate]
    ) -> dict[str, tuple[int, int]]:
        """What came in so far, as (messages, bytes) by type; `sessions` are those of now."""
        sizes = _summed(self._past_sizes, (one.message_bytes_in for one in sessions))
        counts = _summed(self._past_in, (one.messages_in for one in sessions))
        sums = {kind: (count, sizes[kind]) for kind, count in counts.items()}
        for gate in gates:
            gate.add_messages(sums)
        return sums

    def count(self, sessions: Sequence[SessionCounters], gates: Sequence[DatagramGate]) -> None:
        """Bring the metrics up to now."""
        received = self.messages(sessions, gates)
        sent = _summed(self._past_out, (one.messages_out for one in sessions))
        bytes_in, bytes_out = self._past_bytes
        for session in sessions:
            bytes_in += session.bytes_in
            bytes_out += session.bytes_out
        for gate in gates:
            gate_in, gate_out = gate.moved
            bytes_in += gate_in
            bytes_out += gate_out
        for kind, (messages, size) in received.items():
            self._messages_in.reach(messages, kind)
            self._message_bytes_in.reach(size, kind)
        for kind, messages in sent.items():
            self._messages_out.reach(messages, kind)
        self._bytes_in.reach(bytes_in)
        self._bytes_out.reach(bytes_out)


class _Follower:
    """A counter that follows sums."""

    __slots__ = ("_counted", "_counter")

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._counted: dict[Labels, int] = {}

    def reach(self, total: int, *labels: str) -> None:
        new = total - self._counted.get(labels, 0)
        # Less than before is a protocol that forgot, or failed: what was counted stays.
        if new > 0:
            self._counted[labels] = total
            self._counter.add(new, *(OTHER if label == UNKNOWN else label for label in labels))


def _summed(past: Mapping[str, int], sessions: Iterable[Mapping[str, int]]) -> Mapping[str, int]:
    sums = defaultdict(int, past)
    for one in sessions:
        for kind, count in one.items():
            sums[kind] += count
    return sums
