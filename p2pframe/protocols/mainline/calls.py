"""The queries that an endpoint has under way: each is answered, late, lost, or answered after it was given up.

A reply counts only where its transaction id, which nobody can guess, was sent to the very address that it comes from. A
query is first *late* (whoever waits for it may ask somebody else as well), then *lost*; what comes after that is still
taken by who can use it, and teaches the round-trip estimate that it gave up too soon.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from p2pframe.interfaces import Counter, Entropy
from p2pframe.kademlia.round_trips import RoundTrips
from p2pframe.model import PeerAddress
from p2pframe.protocols.mainline import krpc
from p2pframe.protocols.mainline.krpc import Refusal, Response

VERSION = b"p2\x00\x01"
"""`v` of what we send: two letters of the program, two bytes of its version."""
TRANSACTION = 4
"""Bytes of a transaction id of ours: a blind guess is right once in four thousand million."""

_DRAWN = 64
"""Transaction ids that are drawn at once: a system call for each would cost as much as writing a query."""

WAITING, LATE, LOST, OVER = range(4)
_NEVER = -1.0
_VOID = 64
"""So many entries of the queue, and three for each call, may be void before they are cleared away."""


class Call:
    """One query. `expected` is the id that is to answer, None where it is not known.

    `replied` gets the response, or the refusal, and whether it had been given up before; `late` and `lost` are called
    at most once each, in this order.
    """

    __slots__ = ("address", "due", "expected", "late", "lost", "replied", "sent", "state", "transaction")

    def __init__(
        self,
        transaction: bytes,
        address: PeerAddress,
        expected: int | None,
        sent: float,
        replied: Callable[[Response | Refusal, bool], None],
        late: Callable[[], None] | None,
        lost: Callable[[], None] | None,
    ) -> None:
        self.transaction = transaction
        self.address = address
        self.expected = expected
        self.sent = sent
        self.replied = replied
        self.late = late
        self.lost = lost
        self.state = WAITING
        self.due = _NEVER
        """When the next thing happens to it unless it is answered."""


class Calls:
    """The queries of one endpoint. `most` bounds those under way, and as many that were lost are remembered.

    `unanswered` is called with each that is lost, before its own `lost`. One timer waits for all: nearly every query is
    answered long before anything is due. Times are seconds of the reactor's clock.
    """

    def __init__(
        self,
        clock: IReactorTime,
        entropy: Entropy,
        send: Callable[[bytes, PeerAddress], None],
        most: Callable[[], int],
        grace: Callable[[], float],
        ended: Counter,
        unanswered: Callable[[Call], None],
    ) -> None:
        self.round_trips: RoundTrips[PeerAddress] = RoundTrips()
        self._clock = clock
        self._entropy = entropy
        self._send = send
        self._most = most
        self._grace = grace
        self._ended = ended
        self._unanswered = unanswered
        self._queue: list[tuple[float, int, Call]] = []
        """What is due when, as a heap; one whose call has another `due` by now is void."""
        self._queued = 0
        self._timer: IDelayedCall | None = None
        self._timer_at = 0.0
        self._calls: dict[bytes, Call] = {}
        self._lost: dict[Call, None] = {}
        self._under_way = 0
        self._drawn: list[bytes] = []

    def __len__(self) -> int:
        return self._under_way

    def full(self) -> bool:
        """Whether another one would be refused."""
        return self._under_way >= self._most()

    def ask(
        self,
        question: bytes,
        address: PeerAddress,
        replied: Callable[[Response | Refusal, bool], None],
        *,
        expected: int | None = None,
        late: Callable[[], None] | None = None,
        lost: Callable[[], None] | None = None,
    ) -> Call | None:
        """Send a query that `krpc.asked` has written; None (counted) where too many are under way."""
        if self._under_way >= self._most():
            self._ended.add(1, "refused")
            return None
        transaction = self._transaction()
        while transaction in self._calls:
            transaction = self._transaction()
        now = self._clock.seconds()
        call = Call(transaction, address, expected, now, replied, late, lost)
        self._calls[transaction] = call
        self._under_way += 1
        self._wait(call, now + self.round_trips.late_after(address), now)
        self._send(krpc.addressed(question, transaction, VERSION), address)
        return call

    def awaited(self, data: bytes, source: PeerAddress) -> bool:
        """Whether this looks like the reply to one of them; cheap, and decodes nothing."""
        transaction = krpc.transaction_of(data)
        call = None if transaction is None else self._calls.get(transaction)
        return call is not None and call.address == source

    def take(self, reply: Response | Refusal, source: PeerAddress) -> Call | None:
        """The query that this replies to, which is over by it; None for what nobody asked (counted)."""
        call = self._calls.get(reply.transaction)
        if call is None or call.address != source:
            self._ended.add(1, "not asked")
            return None
        seconds = self._clock.seconds() - call.sent
        if call.state == LOST:
            self.round_trips.came_late(source, seconds)
            self._ended.add(1, "answered after all")
        else:
            self.round_trips.sample(source, seconds)
            self._ended.add(1, "answered" if isinstance(reply, Response) else "declined")
        self._over(call)
        return call

    def stop(self) -> None:
        """End them all; nobody is called any more."""
        for call in list(self._calls.values()):
            self._over(call)
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _transaction(self) -> bytes:
        drawn = self._drawn
        if not drawn:
            fresh = self._entropy.bytes(_DRAWN * TRANSACTION)
            drawn += [fresh[at : at + TRANSACTION] for at in range(0, len(fresh), TRANSACTION)]
        return drawn.pop()

    def _wait(self, call: Call, until: float, now: float) -> None:
        call.due = until
        self._queued += 1
        heappush(self._queue, (until, self._queued, call))
        if self._timer is None or until < self._timer_at:
            self._set_timer(until, now)

    def _set_timer(self, until: float, now: float) -> None:
        self._timer_at = until
        if self._timer is None:
            self._timer = self._clock.callLater(max(0.0, until - now), self._tick)
        else:
            self._timer.reset(max(0.0, until - now))

    def _tick(self) -> None:
        """Whoever is due is late, lost or forgotten."""
        self._timer = None
        now = self._clock.seconds()
        queue = self._queue
        try:
            while queue and (queue[0][0] <= now or queue[0][0] != queue[0][2].due):
                until, _, call = heappop(queue)
                if until == call.due:
                    self._is_due(call, now)
        finally:
            self._go_on(now)

    def _go_on(self, now: float) -> None:
        if self._queue and (self._timer is None or self._queue[0][0] < self._timer_at):
            self._set_timer(self._queue[0][0], now)

    def _is_due(self, call: Call, now: float) -> None:
        if call.state == WAITING:
            self._is_late(call, now)
        elif call.state == LATE:
            self._is_lost(call, now)
        else:
            self._over(call)

    def _is_late(self, call: Call, now: float) -> None:
        call.state = LATE
        self._wait(call, max(now, call.sent + self.round_trips.lost_after(call.address)), now)
        if call.late is not None:
            call.late()

    def _is_lost(self, call: Call, now: float) -> None:
        call.state = LOST
        self._under_way -= 1
        self.round_trips.lost(call.address)
        self._ended.add(1, "lost")
        while len(self._lost) >= self._most():
            self._ended.add(1, "forgotten")
            self._over(next(iter(self._lost)))
        self._lost[call] = None
        self._wait(call, now + self._grace(), now)
        self._unanswered(call)
        if call.lost is not None:
            call.lost()

    def _over(self, call: Call) -> None:
        if call.state != LOST:
            self._under_way -= 1
        self._lost.pop(call, None)
        call.state = OVER
        call.due = _NEVER
        self._calls.pop(call.transaction, None)
        if len(self._queue) > _VOID + 4 * len(self._calls):
            self._queue[:] = [one for one in self._queue if one[0] == one[2].due]
            heapify(self._queue)
