"""How the latest items of a network spread, as far as this node saw: who brought and announced each, who was told.

Kept for `limits.spreads` items, with `limits.spread_peers` peers of each, as plain numbers: what is noted for each
announcement is two numbers in two arrays. Sessions are known by id; where those that have ended were is kept for
`limits.spread_sessions` of them. Times are seconds of the reactor's clock but for `first_seen`, which is unix time.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Callable, Sequence

from p2pframe.config.settings import Limits
from p2pframe.interfaces import Metrics, Spread, SpreadPeer
from p2pframe.model import Item, ItemId, PeerAddress, SessionId, Topic


class Record:
    """How one item spreads. Each pair of arrays is of sessions and of seconds after the first sight."""

    __slots__ = (
        "announcers",
        "asked",
        "delays",
        "duplicates",
        "first_seen",
        "heard_from",
        "present",
        "serial",
        "served",
        "served_delays",
        "source",
        "started",
        "told",
        "told_delays",
        "told_of",
        "wasted",
    )  # fmt: skip

    def __init__(self, first_seen: float, started: float, source: SessionId | None, present: int, serial: int) -> None:
        self.first_seen = first_seen
        self.started = started
        self.source = source
        self.present = present
        self.serial = serial
        self.heard_from = 0
        self.announcers = array("q")
        self.delays = array("d")
        self.told = 0
        self.told_of = array("q")
        self.told_delays = array("d")
        self.served = array("q")
        self.served_delays = array("d")
        self.asked: Sequence[SessionId] = ()
        self.duplicates = 0
        self.wasted = 0


class _Seat:
    """A session that is, or was, open: its number in the order of their opening, and where it is."""

    __slots__ = ("address", "serial")

    def __init__(self, serial: int, address: PeerAddress) -> None:
        self.serial = serial
        self.address = address


class Spreads:
    """The latest items of one network, oldest first."""

    def __init__(
        self,
        seconds: Callable[[], float],
        unix_time: Callable[[], float],
        limits: Callable[[], Limits],
        metrics: Metrics,
    ) -> None:
        self._seconds = seconds
        self._unix_time = unix_time
        self._limits = limits
        self.records: OrderedDict[tuple[Topic, ItemId], Record] = OrderedDict()
        self._seats: dict[SessionId, _Seat] = {}
        self._left: OrderedDict[SessionId, None] = OrderedDict()
        """Sessions that have ended, those that ended first first."""
        self._serial = 0
        self._turned_away = metrics.counter(
            "spread_left_out_total",
            "What is not kept of how items spread: peers of one item beyond limits.spread_peers, and where sessions "
            "were that have ended, beyond limits.spread_sessions.",
            ("what",),
        )

    # --- sessions ---

    def came(self, session: SessionId, address: PeerAddress) -> None:
        """A session is open."""
        self._serial += 1
        self._seats[session] = _Seat(self._serial, address)

    def left(self, session: SessionId) -> None:
        """It has ended."""
        if session in self._seats:
            self._left[session] = None
            while len(self._left) > self._limits().spread_sessions:
                gone, _ = self._left.popitem(last=False)
                del self._seats[gone]
                self._turned_away.add(1, "sessions")

    # --- what happens ---

    def begin(
        self, item: Item, source: SessionId | None, present: int,
        earlier: Sequence[SessionId], asked: Sequence[SessionId],
    ) -> None:  # fmt: skip
        """An item is here and good. `earlier` had announced it before it came, `asked` were asked for it."""
        key = (item.topic, item.id)
        if key in self.records:
            return
        record = Record(self._unix_time(), self._seconds(), source, present, self._serial)
        room = self._limits().spread_peers
        for session in earlier[:room]:
            record.announcers.append(session)
            record.delays.append(0.0)
        record.heard_from = len(earlier)
        record.asked = asked[:room]
        self._turned_away.add(max(0, len(earlier) - room) + max(0, len(asked) - room), "peers")
        self.records[key] = record
        while len(self.records) > self._limits().spreads:
            self.records.popitem(last=False)

    def announced(self, session: SessionId, topic: Topic, ids: Sequence[ItemId], now: float) -> None:
        """A peer says that it has these."""
        find, room = self.records.get, 0
        for id in ids:
            record = find((topic, id))
            if record is not None:
                record.heard_from += 1
                delays = record.delays
                room = room or self._limits().spread_peers
                if len(delays) < room:
                    record.announcers.append(session)
                    delays.append(now - record.started)
                else:
                    self._turned_away.add(1, "peers")

    def told(self, session: SessionId, topic: Topic, items: Sequence[Item]) -> None:
        """A peer is told of these."""
        find, room, now = self.records.get, 0, 0.0
        for item in items:
            record = find((topic, item.id))
            if record is not None:
                record.told += 1
                if not room:
                    room, now = self._limits().spread_peers, self._seconds()
                delays = record.told_delays
                if len(delays) < room:
                    record.told_of.append(session)
                    delays.append(now - record.started)
                else:
                    self._turned_away.add(1, "peers")

    def served(self, session: SessionId, topic: Topic, id: ItemId) -> None:
        """A peer has asked for it, and may have it."""
        record = self.records.get((topic, id))
        if record is not None:
            if len(record.served) < self._limits().spread_peers:
                record.served.append(session)
                record.served_delays.append(self._seconds() - record.started)
            else:
                self._turned_away.add(1, "peers")

    def again(self, item: Item) -> None:
        """It came in whole once more."""
        record = self.records.get((item.topic, item.id))
        if record is not None:
            record.duplicates += 1
            record.wasted += item.size

    # --- what is asked ---

    def latest(self, limit: int, topic: str | None = None) -> list[Spread]:
        """The latest items, newest first, without their peers; of one topic where given."""
        found: list[Spread] = []
        for key in reversed(self.records):
            if len(found) >= limit:
                break
            if topic is None or key[0] == topic:
                found.append(self._shown(key, self.records[key], peers=False))
        return found

    def one(self, topic: str, id: bytes) -> Spread | None:
        """One item, with its peers; None where it is not among the latest."""
        key = (Topic(topic), ItemId(id))
        record = self.records.get(key)
        return None if record is None else self._shown(key, record, peers=True)

    def _shown(self, key: tuple[Topic, ItemId], record: Record, peers: bool) -> Spread:
        # Who is known no longer ended long ago, and was there before.
        seats, serial = self._seats, record.serial
        reached = {*record.announcers, *record.told_of}
        if record.source is not None:
            reached.add(record.source)
        there = sum(1 for one in reached if (seat := seats.get(SessionId(one))) is None or seat.serial <= serial)
        return Spread(
            key[0], key[1], record.first_seen, record.source, record.heard_from, record.told, tuple(record.delays),
            duplicates=record.duplicates, wasted=record.wasted, present=record.present,
            reached=min(there, record.present), address=self._address(record.source),
            peers=self._peers(record) if peers else (),
        )  # fmt: skip

    def _address(self, session: SessionId | None) -> PeerAddress | None:
        seat = None if session is None else self._seats.get(session)
        return None if seat is None else seat.address

    def _peers(self, record: Record) -> tuple[SpreadPeer, ...]:
        """By session, in the order in which they first had to do with it."""
        heard: dict[int, float] = {}
        told: dict[int, float] = {}
        served: dict[int, float] = {}
        for first, sessions, delays in (
            (heard, record.announcers, record.delays), (told, record.told_of, record.told_delays),
            (served, record.served, record.served_delays),
        ):  # fmt: skip
            for session, delay in zip(sessions, delays, strict=True):
                first.setdefault(session, delay)
        source = () if record.source is None else (int(record.source),)
        everybody = dict.fromkeys([*source, *record.asked, *heard, *told, *served])
        return tuple(
            SpreadPeer(
                SessionId(one), self._address(SessionId(one)), heard.get(one), told.get(one), served.get(one),
                one in record.asked,
            )
            for one in everybody
        )  # fmt: skip
