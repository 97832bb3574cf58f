"""Taking a name and holding it: probing, conflicts, announcing (RFC 6762, sections 8 and 9). No I/O of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from random import Random

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from p2pframe.discovery.mdns import wire
from p2pframe.discovery.mdns.service import Service
from p2pframe.discovery.mdns.wire import Message, Name, Question, Record

PROBES = 3
INTERVAL = 0.25
"""Seconds between probes; the first waits up to as long, so that hosts switched on together do not probe in step."""
ANNOUNCEMENTS = (0.0, 1.0)
"""Seconds between announcements."""
LOST = 1.0
"""Seconds until the loser of two that probed at once tries again: by then the other has the name, or is no more."""
TIES = 5
"""So many lost one after the other are a conflict: whoever probes for ever has the name no more than we."""
_MANY = (15, 10.0, 5.0)
"""After so many conflicts within so many seconds: so many seconds until the next try."""


class Claim:
    """The names of one service on all links.

    `tell` sends on each link the query that is made for the addresses there; `announce` sends all of our records on
    each; `records` gives our unique records of all links; `taken` is called when the names are ours, `renamed` with the
    name that was not, when another has been chosen.
    """

    def __init__(
        self,
        service: Service,
        reactor: IReactorTime,
        rng: Random,
        tell: Callable[[Callable[[Sequence[str]], Message]], None],
        announce: Callable[[], None],
        records: Callable[[], list[Record]],
        taken: Callable[[], None],
        renamed: Callable[[Name], None],
    ) -> None:
        self.service = service
        self.established = False
        """Whether we may answer for the names."""
        self.announced = False
        """Whether others may know of us by the names, and nobody else had any of them since."""
        self.conflicts = 0
        self._reactor = reactor
        self._rng = rng
        self._tell = tell
        self._announce = announce
        self._records = records
        self._taken = taken
        self._renamed = renamed
        self._probes = 0
        self._announcements = 0
        self._ties = 0
        self._timer: IDelayedCall | None = None
        self._recent: deque[float] = deque(maxlen=_MANY[0])
        self._slow = False
        """There have been many conflicts, and none of the names was ours since."""

    def begin(self, wait: float | None = None) -> None:
        """Probe; after `wait` seconds, or a moment that chance gives."""
        self.stop()
        self._probes = 0
        self._wait(self._rng.uniform(0, INTERVAL) if wait is None else wait, self._probe)

    def stop(self) -> None:
        """The names are not ours any more."""
        self.established = False
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def heard_probe(self, message: Message, addresses: Sequence[str]) -> None:
        """Somebody asks for names and proposes records, on a link where we propose these addresses.

        Where we are at the same name, the later records win.
        """
        if self.established or not self._probes:
            return
        ours = self.service.unique(addresses)
        everywhere = {one.identity for one in self._records()}
        for name in sorted({wire.key(one.name) for one in ours} & {wire.key(one.name) for one in message.authorities}):
            proposed = [one for one in message.authorities if wire.key(one.name) == name]
            if all(one.identity in everywhere for one in proposed):
                # Our own, come back by a loop or another interface.
                continue
            if _ordered([one for one in ours if wire.key(one.name) == name]) < _ordered(proposed):
                self._ties += 1
                if self._ties < TIES:
                    self.begin(LOST)
                else:
                    self._conflict(name)
                return

    def heard(self, records: Sequence[Record]) -> None:
        """Records of a response: one of a name of ours that is not ours means that somebody else has the name."""
        if not (self.established or self._probes):
            return
        ours = self._records()
        names = {wire.key(one.name) for one in ours}
        known = {one.identity for one in ours}
        kinds = {one.key for one in ours}
        for record in records:
            name = wire.key(record.name)
            if name not in names or not record.ttl or record.type == wire.NSEC or record.identity in known:
                continue
            # Once it is ours, others may have records of types that we have none of; while probing any is a conflict.
            if self.established and record.key not in kinds:
                continue
            self._conflict(name)
            return

    def _conflict(self, name: Name) -> None:
        self.conflicts += 1
        self.announced = False
        self._ties = 0
        now = self._reactor.seconds()
        self._recent.append(now)
        if self.established:
            # Perhaps theirs is stale, or comes back by a loop: probing tells (section 9).
            self.begin(0.0)
            return
        self.service.rename(name)
        self._renamed(name)
        many, within, wait = _MANY
        self._slow = self._slow or (len(self._recent) == many and now - self._recent[0] < within)
        self.begin(wait if self._slow else None)

    def _probe(self) -> None:
        if self._probes == PROBES:
            self._probes = 0
            self.established = self.announced = True
            self._slow = False
            self._ties = 0
            self._announcements = 0
            self._taken()
            self._again()
            return
        self._probes += 1
        self._tell(self._probing)
        self._wait(INTERVAL, self._probe)

    def _probing(self, addresses: Sequence[str]) -> Message:
        names = [self.service.instance_name, *([self.service.host_name] if addresses else [])]
        return Message(
            False,
            [Question(name, wire.ANY) for name in names],
            authorities=[one._replace(flush=False) for one in self.service.unique(addresses)],
        )

    def _again(self) -> None:
        self._announce()
        self._announcements += 1
        if self._announcements < len(ANNOUNCEMENTS):
            self._wait(ANNOUNCEMENTS[self._announcements], self._again)

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        self._timer = self._reactor.callLater(seconds, then)


def _ordered(records: Sequence[Record]) -> list[tuple[int, bytes]]:
    """As two sets of records are compared: by type and data, each in order (section 8.2.1); all are of one class."""
    return sorted((one.type, one.data) for one in records)
