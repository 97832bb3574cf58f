"""Looking for instances of a service on one link, and what is known of them (RFC 6762, sections 5, 7.1 and 10).

Only what belongs to the service looked for is kept: instances, and of those the host names and addresses. No I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from p2pframe.discovery.mdns import wire
from p2pframe.discovery.mdns.wire import Message, Name, Question, Record

FIRST = (0.02, 0.12)
"""Seconds that the first question waits."""
LONGEST = 3600.0
"""Seconds between questions at the most; from 1 on they double."""
REFRESHED = (0.80, 0.85, 0.90, 0.95)
"""The parts of its life after which an instance is asked for again."""
JITTER = 0.02
GONE = 1.0
"""Seconds that a record lives on after its goodbye, or after another has taken its place (section 10.1)."""
RESOLVE = (0.1, 1.0, 3.0)
"""Seconds until the host and the addresses of an instance are asked for, if they have not come with it."""
ADDRESSES = 16
"""Addresses of one host."""
LONGEST_LIFE = 86_400.0
"""Seconds that anything is believed, whatever its TTL says."""


class Instance(NamedTuple):
    """A resolved instance: its label, the addresses and the port it is reached at, and what its TXT record says."""

    label: str
    hosts: Sequence[str]
    port: int
    texts: dict[str, str]


class _Seen:
    """An instance as far as it is known; times are those of the reactor."""

    __slots__ = (
        "asked", "expires", "jitter", "learned", "name", "next", "port", "refreshed", "source", "target", "texts",
        "ttl",
    )  # fmt: skip

    def __init__(self, name: Name, source: str, jitter: float) -> None:
        self.name = name
        self.source = source
        self.jitter = jitter
        self.learned = 0.0
        self.expires = 0.0
        self.ttl = 0
        self.refreshed = 0
        self.asked = 0
        self.next = 0.0
        self.port = 0
        self.target: Name | None = None
        self.texts: dict[str, str] = {}


class Browser:
    """Looks for one service on one link.

    `send` takes a query; `news` is called when an instance became resolved; `left_out` with the reason for what found
    no room. `bounds` gives how many instances are kept, and how many of them one address may tell of.
    """

    def __init__(
        self,
        kind: Name,
        reactor: IReactorTime,
        rng: Random,
        send: Callable[[Message], None],
        news: Callable[[], None],
        left_out: Callable[[str], None],
        bounds: Callable[[], tuple[int, int]],
    ) -> None:
        self._kind = wire.key(kind)
        self._reactor = reactor
        self._rng = rng
        self._send = send
        self._news = news
        self._left_out = left_out
        self._bounds = bounds
        self._seen: dict[Name, _Seen] = {}
        self._hosts: dict[Name, dict[str, tuple[float, float]]] = {}
        """By host: its addresses, when each was learned and until when it is good."""
        self._interval = 0.0
        self._next_question = 0.0
        self._timer: IDelayedCall | None = None
        self._running = False

    def begin(self) -> None:
        """Ask, and go on asking."""
        if not self._running:
            self._running = True
            self._interval = 1.0
            self._next_question = self._reactor.seconds() + self._rng.uniform(*FIRST)
            self._set_timer()

    def stop(self) -> None:
        """No more questions."""
        self._running = False
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def found(self) -> list[Instance]:
        """The instances whose addresses are known."""
        now = self._reactor.seconds()
        self._forget(now)
        found = []
        for seen in self._seen.values():
            hosts = self._alive(seen, now)
            if hosts:
                found.append(Instance(seen.name[0].decode("utf-8", "replace"), hosts, seen.port, seen.texts))
        return found

    def heard(self, records: Sequence[Record], source: str) -> None:
        """The records of a response from an address of this link."""
        if not self._running:
            return
        now = self._reactor.seconds()
        self._forget(now)
        before = self._resolved(now)
        theirs = sum(one.source == source for one in self._seen.values())
        for record in records:
            if record.type == wire.PTR and wire.key(record.name) == self._kind:
                theirs += self._heard_of(record, source, now, theirs)
        for record in records:
            seen = self._seen.get(wire.key(record.name)) if record.type in (wire.SRV, wire.TXT) else None
            if seen is not None and record.ttl:
                self._heard_more(seen, record)
        targets = {wire.key(seen.target) for seen in self._seen.values() if seen.target is not None}
        for record in records:
            host = wire.key(record.name)
            if record.type in (wire.A, wire.AAAA) and host in targets:
                self._heard_address(host, record, now)
        if self._resolved(now) - before:
            self._news()
        self._set_timer()

    def _heard_of(self, record: Record, source: str, now: float, theirs: int) -> bool:
        """Whether it is a new one; `theirs` are those that its source has told of already."""
        name = wire.read_target(record)
        if name is None or len(name) != len(self._kind) + 1 or wire.key(name[1:]) != self._kind:
            return False
        which = wire.key(name)
        seen = self._seen.get(which)
        if not record.ttl:
            if seen is not None:
                seen.expires = min(seen.expires, now + GONE)
            return False
        new = seen is None
        if seen is None:
            most, per_source = self._bounds()
            if len(self._seen) >= most:
                self._left_out("instances")
                return False
            if theirs >= per_source:
                self._left_out("of one source")
                return False
            seen = self._seen[which] = _Seen(name, source, self._rng.uniform(0, JITTER))
            seen.next = now + RESOLVE[0]
        seen.learned = now
        seen.ttl = record.ttl
        seen.expires = now + min(record.ttl, LONGEST_LIFE)
        seen.refreshed = 0
        return new

    def _heard_more(self, seen: _Seen, record: Record) -> None:
        if record.type == wire.TXT:
            seen.texts = wire.read_txt(record)
            return
        srv = wire.read_srv(record)
        if srv is not None and srv[0] and srv[1]:
            seen.port, seen.target = srv

    def _heard_address(self, host: Name, record: Record, now: float) -> None:
        address = wire.read_address(record)
        if address is None:
            return
        known = self._hosts.setdefault(host, {})
        text = str(address)
        if not record.ttl:
            if text in known:
                known[text] = known[text][0], min(known[text][1], now + GONE)
            return
        if record.flush:
            for other, (learned, expires) in known.items():
                same = (":" in other) == (record.type == wire.AAAA)
                # Those of the same second may be of the same answer, sent in parts.
                if same and now - learned > GONE:
                    known[other] = learned, min(expires, now + GONE)
        if text not in known and len(known) >= ADDRESSES:
            self._left_out("addresses")
            return
        known[text] = now, now + min(record.ttl, LONGEST_LIFE)

    def _alive(self, seen: _Seen, now: float) -> list[str]:
        if seen.target is None or not seen.port:
            return []
        known = self._hosts.get(wire.key(seen.target), {})
        return [host for host, (_, expires) in known.items() if expires > now]

    def _resolved(self, now: float) -> set[tuple[Name, str, int]]:
        return {
            (which, host, seen.port) for which, seen in self._seen.items() if seen.expires > now
            for host in self._alive(seen, now)
        }  # fmt: skip

    def _forget(self, now: float) -> None:
        self._seen = {which: seen for which, seen in self._seen.items() if seen.expires > now}
        targets = {wire.key(seen.target) for seen in self._seen.values() if seen.target is not None}
        kept = {}
        for host, known in self._hosts.items():
            if host in targets:
                kept[host] = {text: life for text, life in known.items() if life[1] > now}
        self._hosts = kept

    # --- questions ---

    def _refresh_at(self, seen: _Seen) -> float:
        """When it is next asked for again; never, where that has been in vain four times."""
        if seen.refreshed >= len(REFRESHED):
            return seen.expires
        life = seen.expires - seen.learned
        return seen.learned + life * (REFRESHED[seen.refreshed] + seen.jitter)

    def _set_timer(self) -> None:
        if not self._running:
            return
        now = self._reactor.seconds()
        due = [self._next_question]
        for seen in self._seen.values():
            due.append(self._refresh_at(seen))
            if seen.asked < len(RESOLVE) and not self._alive(seen, now):
                due.append(seen.next)
        wait = max(0.001, min(due) - now)
        if self._timer is not None and self._timer.active():
            self._timer.reset(wait)
        else:
            self._timer = self._reactor.callLater(wait, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self._reactor.seconds()
        self._forget(now)
        ask = now >= self._next_question
        if ask:
            self._next_question = now + self._interval
            self._interval = min(self._interval * 2, LONGEST)
        for seen in self._seen.values():
            if seen.refreshed < len(REFRESHED) and now >= self._refresh_at(seen):
                seen.refreshed += 1
                ask = True
        if ask:
            self._ask(now)
        self._resolve(now)
        self._set_timer()

    def _ask(self, now: float) -> None:
        """Who is there, but for those whom we know well (section 7.1)."""
        known = [
            Record(self._kind, wire.PTR, int(left), wire.name_data(seen.name))
            for seen in self._seen.values()
            if (left := seen.expires - now) * 2 > seen.ttl
        ]
        lots = wire.packed(known, wire.ROOM - 100) or [[]]
        for number, lot in enumerate(lots):
            questions = [] if number else [Question(self._kind, wire.PTR)]
            self._send(Message(False, questions, lot, truncated=number + 1 < len(lots)))

    def _resolve(self, now: float) -> None:
        """The hosts and addresses of those that came without."""
        questions: dict[Question, None] = {}
        for seen in self._seen.values():
            if seen.asked >= len(RESOLVE) or now < seen.next or self._alive(seen, now):
                continue
            if len(questions) >= 2 * _AT_ONCE:
                break
            seen.asked += 1
            seen.next = now + RESOLVE[min(seen.asked, len(RESOLVE) - 1)]
            if seen.target is None:
                questions[Question(seen.name, wire.SRV)] = None
                questions[Question(seen.name, wire.TXT)] = None
            else:
                questions[Question(seen.target, wire.A)] = None
                questions[Question(seen.target, wire.AAAA)] = None
        if questions:
            self._send(Message(False, list(questions)))


_AT_ONCE = 3
"""Instances asked for in one message: their names, of 255 bytes at the most, must fit one packet."""
