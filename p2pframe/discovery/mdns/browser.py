"""Looking for instances of a service on one link, and what is known of them (RFC 6762, sections 5, 7.1 and 10).

Only what belongs to the service looked for is kept: instances, and of those the host names and addresses. No I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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
APART = 1.0
"""Seconds between two questions who is there at the least (section 5.2)."""
GONE = 1.0
"""Seconds that a record lives on after its goodbye, or after another has taken its place (section 10.1)."""
RESOLVE = (0.1, 1.0, 3.0)
"""Seconds until the host and the addresses of an instance are asked for, if they have not come with it. The first is
also what lies between two such questions, of all instances together."""
ADDRESSES = 16
"""Addresses of one host."""
TEXTS = 1300
"""Bytes of the TXT record of an instance: nobody should have more (RFC 6763, section 6.2)."""
LONGEST_LIFE = 86_400.0
"""Seconds that anything is believed, whatever its TTL says."""


class Instance(NamedTuple):
    """A resolved instance: its label, the addresses and the port it is reached at, and what its TXT record says."""

    label: str
    hosts: Sequence[str]
    port: int
    texts: dict[str, str]


class _Seen:
    """An instance as far as one source has told of it; times are those of the reactor.

    `pointed`: it came as the answer to our question, and not only by what is asked for after that.
    """

    __slots__ = (
        "asked", "expires", "jitter", "learned", "name", "next", "pointed", "port", "refreshed", "target", "texts",
        "ttl",
    )  # fmt: skip

    def __init__(self, name: Name, jitter: float) -> None:
        self.name = name
        self.jitter = jitter
        self.pointed = False
        self.learned = 0.0
        self.expires = 0.0
        self.ttl = 0
        self.refreshed = 0
        self.asked = 0
        self.next = 0.0
        self.port = 0
        self.target: Name | None = None
        self.texts: Record | None = None

    def live(self, record: Record, now: float) -> None:
        """It is there for as long as a record says."""
        self.learned = now
        self.ttl = record.ttl
        self.expires = now + min(record.ttl, LONGEST_LIFE)
        self.refreshed = 0

    def refresh_at(self) -> float:
        """When it is next asked for again; never, where that has been in vain four times."""
        if self.refreshed >= len(REFRESHED):
            return self.expires
        return self.learned + (self.expires - self.learned) * (REFRESHED[self.refreshed] + self.jitter)


class _Source:
    """What one address of the link has told: instances, and by host its addresses, when each was learned and until when
    it is good."""

    __slots__ = ("hosts", "seen")

    def __init__(self) -> None:
        self.seen: dict[Name, _Seen] = {}
        self.hosts: dict[Name, dict[str, tuple[float, float]]] = {}

    def alive(self, seen: _Seen, now: float) -> list[str]:
        """The addresses at which an instance is reached."""
        if seen.target is None or not seen.port:
            return []
        known = self.hosts.get(wire.key(seen.target), {})
        return [host for host, (_, expires) in known.items() if expires > now]

    def targets(self) -> dict[Name, list[_Seen]]:
        """By host: the instances there."""
        found: dict[Name, list[_Seen]] = {}
        for seen in self.seen.values():
            if seen.target is not None:
                found.setdefault(wire.key(seen.target), []).append(seen)
        return found

    def forget(self, now: float) -> None:
        """What is no longer good, and hosts that no instance is at."""
        self.seen = {which: seen for which, seen in self.seen.items() if seen.expires > now}
        targets = self.targets()
        self.hosts = {
            host: {text: life for text, life in known.items() if life[1] > now}
            for host, known in self.hosts.items()
            if host in targets
        }


class Browser:
    """Looks for one service on one link.

    Nobody there can prove anything, and what is sent to us alone nobody else can object to. So each source is believed
    by itself: it can add to what others say, and neither change it nor take it back.

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
        self._sources: dict[str, _Source] = {}
        self._interval = 0.0
        self._next_question = 0.0
        self._asked_from = 0.0
        """No question who is there before this, whatever is due; and the same for hosts and addresses."""
        self._resolved_from = 0.0
        self._forgotten = 0.0
        self._room_from = 0.0
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
        """The instances whose addresses are known, as each source has it."""
        now = self._reactor.seconds()
        self._forget(now)
        found = []
        for source, seen in self._everything():
            hosts = source.alive(seen, now)
            if hosts:
                texts = {} if seen.texts is None else wire.read_txt(seen.texts)
                found.append(Instance(seen.name[0].decode("utf-8", "replace"), hosts, seen.port, texts))
        return found

    def heard(self, records: Sequence[Record], source: str) -> None:
        """The records of a response from an address of this link."""
        if not self._running:
            return
        now = self._reactor.seconds()
        if now - self._forgotten >= GONE:
            self._forget(now)
        for record in records:
            if record.type == wire.PTR and wire.key(record.name) == self._kind:
                self._heard_of(record, source, now)
        moved: list[_Seen] = []
        for record in records:
            if record.type == wire.SRV and record.ttl:
                moved += self._heard_place(record, source, now)
        told = self._sources.get(source)
        if told is None:
            return
        for record in records:
            if record.type == wire.TXT and record.ttl and (seen := told.seen.get(wire.key(record.name))) is not None:
                if len(record.data) <= TEXTS:
                    seen.texts = record
                else:
                    self._left_out("texts")
        targets = told.targets()
        new = False
        for record in records:
            if record.type in (wire.A, wire.AAAA) and (host := wire.key(record.name)) in targets:
                new |= self._heard_address(told, host, record, now)
                self._ask_in_time(told, host, targets[host], now)
        if new or any(told.alive(seen, now) for seen in moved):
            self._news()
        self._set_timer()

    def _heard_of(self, record: Record, source: str, now: float) -> None:
        name = wire.read_target(record)
        if name is None or not self._is_instance(name):
            return
        told = self._sources.get(source)
        seen = None if told is None else told.seen.get(wire.key(name))
        if not record.ttl:
            if seen is not None:
                seen.expires = min(seen.expires, now + GONE)
                # It has said so itself: there is nothing to ask.
                seen.refreshed, seen.asked = len(REFRESHED), len(RESOLVE)
            return
        seen = seen or self._entered(name, source, now)
        if seen is None:
            return
        seen.pointed = True
        seen.live(record, now)
        if seen.asked and not self._sources[source].alive(seen, now):
            seen.asked, seen.next = 0, now + RESOLVE[0]

    def _heard_place(self, record: Record, source: str, now: float) -> list[_Seen]:
        """The instance, if it is somewhere else now than it was."""
        which = wire.key(record.name)
        told = self._sources.get(source)
        seen = None if told is None else told.seen.get(which)
        srv = wire.read_srv(record)
        if srv is None or not srv[0] or not srv[1]:
            return []
        if seen is None:
            # Somebody else has told of it, and now speaks the one whose it is; or the other way round.
            if not any(which in other.seen for other in self._sources.values()):
                return []
            seen = self._entered(record.name, source, now)
            if seen is None:
                return []
        if not seen.pointed:
            seen.live(record, now)
        moved = (seen.port, seen.target) != srv
        seen.port, seen.target = srv
        return [seen] if moved else []

    def _heard_address(self, told: _Source, host: Name, record: Record, now: float) -> bool:
        """Whether it is a new one."""
        address = wire.read_address(record)
        if address is None:
            return False
        known = told.hosts.setdefault(host, {})
        text = str(address)
        if not record.ttl:
            if text in known:
                known[text] = known[text][0], min(known[text][1], now + GONE)
            return False
        if record.flush:
            for other, (learned, expires) in known.items():
                same = (":" in other) == (record.type == wire.AAAA)
                # Those of the same second may be of the same answer, sent in parts.
                if same and now - learned > GONE:
                    known[other] = learned, min(expires, now + GONE)
        if text not in known and len(known) >= ADDRESSES:
            self._left_out("addresses")
            return False
        new = text not in known or known[text][1] <= now
        known[text] = now, now + min(record.ttl, LONGEST_LIFE)
        return new

    def _ask_in_time(self, told: _Source, host: Name, there: Sequence[_Seen], now: float) -> None:
        """Before the first of the addresses of a host is no longer good, those who are there are asked for it."""
        lives = [(at, expires) for at, expires in told.hosts.get(host, {}).values() if expires - now > GONE]
        if lives:
            soonest = min(at + (expires - at) * REFRESHED[0] for at, expires in lives)
            for seen in there:
                seen.asked, seen.next = 0, soonest

    def _entered(self, name: Name, source: str, now: float) -> _Seen | None:
        """A new one; None where there is no room for it."""
        most, per_source = self._bounds()
        told = self._sources.get(source)
        if told is not None and len(told.seen) >= per_source:
            self._left_out("of one source")
            if not self._make_room([told], now):
                return None
        elif sum(len(one.seen) for one in self._sources.values()) >= most:
            self._left_out("instances")
            if now < self._room_from:
                return None
            if not self._make_room(self._sources.values(), now):
                # It is dear to look through all of them, and nothing that each message may make us do.
                self._room_from = now + GONE
                return None
        if told is None:
            told = self._sources[source] = _Source()
        seen = told.seen[wire.key(name)] = _Seen(name, self._rng.uniform(0, JITTER))
        seen.next = now + RESOLVE[0]
        return seen

    def _make_room(self, sources: Iterable[_Source], now: float) -> bool:
        """Give up one that has been asked for its addresses in vain."""
        for source in sources:
            for which, seen in source.seen.items():
                if seen.asked >= len(RESOLVE) and not source.alive(seen, now):
                    del source.seen[which]
                    return True
        return False

    def _is_instance(self, name: Name) -> bool:
        return len(name) == len(self._kind) + 1 and wire.key(name[1:]) == self._kind

    def _everything(self) -> list[tuple[_Source, _Seen]]:
        return [(source, seen) for source in self._sources.values() for seen in source.seen.values()]

    def _forget(self, now: float) -> None:
        self._forgotten = now
        for source in self._sources.values():
            source.forget(now)
        self._sources = {address: source for address, source in self._sources.items() if source.seen}

    # --- questions ---

    def _set_timer(self) -> None:
        if not self._running:
            return
        ask, resolve = self._next_question, self._next_question
        for _, seen in self._everything():
            ask = min(ask, seen.refresh_at())
            if seen.asked < len(RESOLVE):
                resolve = min(resolve, seen.next)
        now = self._reactor.seconds()
        wait = max(0.001, min(max(ask, self._asked_from), max(resolve, self._resolved_from)) - now)
        if self._timer is not None and self._timer.active():
            self._timer.reset(wait)
        else:
            self._timer = self._reactor.callLater(wait, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self._reactor.seconds()
        self._forget(now)
        if now >= self._asked_from:
            ask = now >= self._next_question
            if ask:
                self._next_question = now + self._interval
                self._interval = min(self._interval * 2, LONGEST)
            for _, seen in self._everything():
                while seen.refreshed < len(REFRESHED) and now >= seen.refresh_at():
                    seen.refreshed += 1
                    ask = True
            if ask:
                self._asked_from = now + APART
                self._ask(now)
        if now >= self._resolved_from:
            self._resolve(now)
        self._set_timer()

    def _ask(self, now: float) -> None:
        """Who is there, but for those whom we know well (section 7.1): from all who have told of them."""
        well: dict[Name, tuple[_Seen, int]] = {}
        doubtful: set[Name] = set()
        for _, seen in self._everything():
            which = wire.key(seen.name)
            left = seen.expires - now
            if not seen.pointed or left * 2 <= seen.ttl:
                doubtful.add(which)
            elif which not in well or left < well[which][1]:
                well[which] = seen, int(left)
        known = [
            Record(self._kind, wire.PTR, left, wire.name_data(seen.name))
            for which, (seen, left) in well.items()
            if which not in doubtful
        ]
        lots = wire.packed(known, wire.ROOM - 100) or [[]]
        for number, lot in enumerate(lots):
            questions = [] if number else [Question(self._kind, wire.PTR)]
            self._send(Message(False, questions, lot, truncated=number + 1 < len(lots)))

    def _resolve(self, now: float) -> None:
        """The hosts and addresses of those that came without, or whose addresses are old."""
        questions: dict[Question, None] = {}
        for _, seen in self._everything():
            if seen.asked >= len(RESOLVE) or now < seen.next:
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
            self._resolved_from = now + RESOLVE[0]
            self._send(Message(False, list(questions)))


_AT_ONCE = 3
"""Instances asked for in one message: their names, of 255 bytes at the most, must fit one packet."""
