"""Sessions that somebody looks into: the last messages of each, bounded in number and bytes, for as long as they look.

What a session says is shown by a tap, which costs nothing while nobody inspects it. A protocol that provides
`IInspectable` says what the messages are; of another there are the reads, as bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import NamedTuple

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from p2pframe.errors import P2PFrameError
from p2pframe.interfaces import (
    Event,
    IContext,
    IInspectable,
    IInspector,
    INodeControl,
    INodeView,
    InspectedMessage,
    InspectedValue,
)
from p2pframe.interfaces.inspect import DEEPEST, LONGEST_TEXT, MOST_VALUES
from p2pframe.model import SessionId, SessionSnapshot

_VALUE = 100
"""Bytes that a value is counted as, beside its text."""
_log = Logger(namespace="p2pframe.admin")


class InspectRefused(P2PFrameError):
    """A session that is not inspected; the text says why."""


class InspectBounds(NamedTuple):
    """How many sessions at once; messages and bytes kept of each; seconds after which nobody looks any more."""

    sessions: int
    messages: int
    size: int
    idle: float


@dataclass(frozen=True, slots=True)
class Seen:
    """A message that is kept. `time` is unix seconds, `seconds` since the inspection began; `way` `in` or `out`."""

    number: int
    time: float
    seconds: float
    way: str
    message: InspectedMessage
    cost: int


class Inspection:
    """One session that is looked into. `running` until it has ended, or nobody looked; `decoded` by its protocol."""

    def __init__(self, session: SessionSnapshot, protocol: str, began: float) -> None:
        self.session = session
        self.protocol = protocol
        self.began = began
        self.running = True
        self.decoded = False
        self.kept: deque[Seen] = deque()
        self.size = 0
        self.latest = 0
        self.dropped = 0
        self.asked = 0.0
        self.start = 0.0
        self.inspectors: Mapping[str, IInspector] = {}
        self.untap: Callable[[], None] = lambda: None
        self.timer: IDelayedCall | None = None

    def find(self, number: int) -> Seen | None:
        """A message by its number; None where it is kept no longer."""
        first = self.kept[0].number if self.kept else 0
        return self.kept[number - first] if self.kept and 0 <= number - first < len(self.kept) else None

    def select(
        self, way: str = "", kind: str = "", text: str = "", after: int = 0, before: int = 0, newest: bool = False
    ) -> Iterator[Seen | None]:
        """Of those that are kept now each that fits, and None for one that does not: reading ten megabytes takes its
        time, so who goes through them may let others have their turn at any.

        What fits is by direction and type, has every word of `text` somewhere in what it says, and a number greater
        than `after` and less than `before`, where that is not 0. Oldest first, or `newest`.
        """
        words = text.lower().split()
        kept = list(self.kept)
        first = kept[0].number if kept else 0
        kept = kept[max(0, after + 1 - first) : max(0, before - first) if before else None]
        for one in reversed(kept) if newest else kept:
            fits = way in ("", one.way) and kind in ("", one.message.name)
            yield one if fits and (not words or _says(one.message, words)) else None


class Inspections:
    """All of a node. `turned_away` counts what a bound refused, by the bound's name."""

    def __init__(
        self,
        context: IContext,
        view: INodeView,
        control: INodeControl,
        bounds: Callable[[], InspectBounds],
        turned_away: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._context = context
        self._view = view
        self._control = control
        self._bounds = bounds
        self._turned_away = turned_away
        self._all: dict[tuple[str, SessionId], Inspection] = {}
        self._unsubscribe: Callable[[], None] | None = None

    def begin(self, session: SessionSnapshot, protocol: str) -> Inspection:
        """Look into a session from now on; the one there is, where it is looked into already.

        Raises `InspectRefused`.
        """
        key = session.network, session.id
        found = self._all.get(key)
        if found is not None and found.running:
            self._touch(found)
            return found
        bounds = self._bounds()
        for other, one in list(self._all.items()):
            if not one.running and (other == key or len(self._all) >= bounds.sessions):
                self._forget(other)
        if len(self._all) >= bounds.sessions:
            self._turned_away("inspections")
            raise InspectRefused(f"{bounds.sessions} sessions are inspected already: end one first")
        clock = self._context.reactor
        one = Inspection(session, protocol, self._context.unix_time())
        one.start = one.asked = clock.seconds()
        inspectable = self._inspectable(session.network)
        if inspectable is not None:
            try:
                one.inspectors = {way: inspectable.inspector(way) for way in ("in", "out")}
                one.decoded = True
            except Exception:  # noqa: BLE001 - a plugin's mistake leaves the bytes to be looked at
                self._failed(one)
        untap = self._control.tap(session.network, session.id, lambda way, data: self._heard(one, way, data))
        if untap is None:
            raise InspectRefused("the session has ended")
        one.untap = untap
        self._all[key] = one
        if self._unsubscribe is None:
            self._unsubscribe = self._view.subscribe(self._happened)
        one.timer = clock.callLater(bounds.idle, self._look, key)
        return one

    def find(self, network: str, session: SessionId) -> Inspection | None:
        """One that there is: somebody looks. What a session has said is there for a while after its end."""
        found = self._all.get((network, session))
        if found is not None:
            self._touch(found)
        return found

    def stop(self, network: str, session: SessionId) -> bool:
        """Look no longer, and forget what was seen; False where nobody did."""
        if (network, session) not in self._all:
            return False
        self._forget((network, session))
        return True

    def stop_all(self) -> None:
        """End them all."""
        for key in list(self._all):
            self._forget(key)

    def all(self) -> Sequence[Inspection]:
        """Those that there are, the latest last."""
        return list(self._all.values())

    def _inspectable(self, network: str) -> IInspectable | None:
        """Of a network's protocol; its label begins with the network's name."""
        for label, plugin in self._view.providers(IInspectable):
            if label.startswith(f"{network}: "):
                return plugin
        return None

    def _touch(self, one: Inspection) -> None:
        one.asked = self._context.reactor.seconds()

    def _look(self, key: tuple[str, SessionId]) -> None:
        """Whether anybody still looks."""
        one = self._all[key]
        clock = self._context.reactor
        left = one.asked + self._bounds().idle - clock.seconds()
        if left > 0:
            one.timer = clock.callLater(left, self._look, key)
        else:
            one.timer = None
            self._forget(key)

    def _heard(self, one: Inspection, way: str, data: bytes) -> None:
        inspector = one.inspectors.get(way)
        found: Sequence[InspectedMessage]
        if inspector is None:
            found = [InspectedMessage("bytes", data)]
        else:
            try:
                found = [bounded(message) for message in inspector.feed(data)]
            except Exception:  # noqa: BLE001 - who looks on must not change what happens
                self._failed(one)
                found = [InspectedMessage("bytes", data, error="the protocol's inspector has failed: see the log")]
        if found:
            self._keep(one, way, found)

    def _keep(self, one: Inspection, way: str, found: Sequence[InspectedMessage]) -> None:
        bounds = self._bounds()
        now, seconds = self._context.unix_time(), self._context.reactor.seconds() - one.start
        for message in found:
            one.latest += 1
            seen = Seen(one.latest, now, seconds, way, message, len(message.raw) + _cost(message.fields))
            one.kept.append(seen)
            one.size += seen.cost
        while one.kept and (len(one.kept) > bounds.messages or one.size > bounds.size):
            self._turned_away("inspected_bytes" if one.size > bounds.size else "inspected_messages")
            one.size -= one.kept.popleft().cost
            one.dropped += 1

    def _failed(self, one: Inspection) -> None:
        one.inspectors, one.decoded = {}, False
        _log.failure("the protocol of {network} could not inspect a session", network=one.session.network)

    def _happened(self, event: Event) -> None:
        found = self._all.get((event.network, event.session)) if event.session is not None else None
        if event.kind != "session.closed" or found is None or not found.running:
            return
        found.running = False
        found.untap()
        for way, inspector in found.inspectors.items():
            try:
                self._keep(found, way, [bounded(message) for message in inspector.end()])
            except Exception:  # noqa: BLE001 - a plugin's mistake ends what it was asked for and nothing else
                self._failed(found)
                break
        found.inspectors = {}

    def _forget(self, key: tuple[str, SessionId]) -> None:
        one = self._all.pop(key)
        if one.running:
            one.running = False
            one.untap()
        if one.timer is not None and one.timer.active():
            one.timer.cancel()
        if not self._all and self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None


def bounded(message: InspectedMessage) -> InspectedMessage:
    """A message within the bounds of its interface, whatever a plugin has made of it."""
    left = [MOST_VALUES]

    def cut(value: object, deep: int) -> InspectedValue:
        left[0] -= 1
        if isinstance(value, float) and not isfinite(value):
            return str(value)  # JSON has no such numbers
        if value is None or isinstance(value, (bool, int, float)):
            return value if not isinstance(value, int) or abs(value) < 1 << 256 else "a number too large"
        if isinstance(value, str):
            return value[:LONGEST_TEXT]
        if deep >= DEEPEST:
            return "..."
        if isinstance(value, Mapping):
            made: dict[str, InspectedValue] = {}
            for name, each in value.items():
                if left[0] <= 0:
                    break
                made[str(name)[:LONGEST_TEXT]] = cut(each, deep + 1)
            return made
        if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
            several: list[InspectedValue] = []
            for each in value:
                if left[0] <= 0:
                    break
                several.append(cut(each, deep + 1))
            return several
        return repr(value)[:LONGEST_TEXT]

    fields = cut(message.fields, 0)
    assert isinstance(fields, Mapping)
    return replace(message, name=message.name[:100], error=message.error[:LONGEST_TEXT], fields=fields)


def _cost(value: InspectedValue) -> int:
    """About how many bytes of memory."""
    if isinstance(value, str):
        return _VALUE + len(value)
    if isinstance(value, Mapping):
        return _VALUE + sum(_VALUE + _cost(each) for each in value.values())
    if isinstance(value, Sequence):
        return _VALUE + sum(_cost(each) for each in value)
    return _VALUE


def _says(message: InspectedMessage, words: Sequence[str]) -> bool:
    texts = [message.name, message.error]
    if message.error:
        texts.append("error")
    _gather(message.fields, texts)
    text = "\n".join(texts).lower()
    return all(word in text for word in words)


def _gather(value: InspectedValue, texts: list[str]) -> None:
    """What a value says, names included. What `bounded` gives is made of dicts and lists alone."""
    if isinstance(value, str):
        texts.append(value)
    elif isinstance(value, dict):
        for name, each in value.items():
            texts.append(name)
            _gather(each, texts)
    elif isinstance(value, list):
        for each in value:
            _gather(each, texts)
    else:
        texts.append(str(value))
