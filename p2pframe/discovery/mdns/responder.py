"""Answering on one link: who asks what is told, once, and not what it knows (RFC 6762, sections 6 and 7). No I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from p2pframe.discovery.mdns import wire
from p2pframe.discovery.mdns.service import ENUMERATION, Service
from p2pframe.discovery.mdns.wire import Message, Question, Record

PORT = 5353
SHARED = (0.02, 0.12)
"""Seconds that an answer which others may give as well waits, so that not all speak at once."""
MORE = (0.4, 0.5)
"""Seconds that one waits where the asker has more known answers to tell."""
APART = 1.0
"""Seconds within which a record is not sent to everybody again."""
LEGACY_TTL = 10
"""Seconds that a resolver which knows nothing of multicast may keep an answer (section 6.7)."""
GROUPS = 64
"""Answers that wait at once on one link; more are given at once."""
QUESTIONS = 16
"""Questions of one message, about our names, that are looked at. We have four names of at most two types."""


class _Waiting:
    """An answer that waits: to be sent at `due`, to everybody; `source` asked for it, and may say what it knows."""

    __slots__ = ("due", "records", "source")

    def __init__(self, due: float, source: str, records: list[Record]) -> None:
        self.due = due
        self.source = source
        self.records = records


class Responder:
    """Answers for a service on a link where we are reached at `addresses()`.

    `send` takes a message and whom it is for, None for everybody; `left_out` is told why something was not answered.
    """

    def __init__(
        self,
        service: Callable[[], Service | None],
        addresses: Callable[[], Sequence[str]],
        reactor: IReactorTime,
        rng: Random,
        send: Callable[[Message, tuple[str, int] | None], None],
        left_out: Callable[[str], None],
    ) -> None:
        self._service = service
        self._addresses = addresses
        self._reactor = reactor
        self._rng = rng
        self._send = send
        self._left_out = left_out
        self._waiting: list[_Waiting] = []
        self._told: dict[object, float] = {}
        """When each of our records went to everybody; forgotten when that no longer matters."""
        self._timer: IDelayedCall | None = None

    def asked(self, message: Message, source: tuple[str, int]) -> None:
        """A query."""
        service, addresses = self._service(), self._addresses()
        if service is None or not addresses:
            return
        if not message.questions and message.answers:
            self._known_too(message.answers, source[0])
            return
        questions = [one for one in dict.fromkeys(message.questions) if service.has(one.name)]
        if len(questions) > QUESTIONS:
            self._left_out("questions")
            del questions[QUESTIONS:]
        if source[1] != PORT:
            self._answer_plainly(service, addresses, questions, message.id, source)
            return
        # Of what comes to a shared port alone only one program gets to see anything, and it need not be the asker.
        here = source[0].partition("%")[0] in addresses
        known = _known(message.answers)
        alone: dict[object, Record] = {}
        at_once: dict[object, Record] = {}
        later: dict[object, Record] = {}
        now = self._reactor.seconds()
        for question in questions:
            for record in service.answers(question, addresses):
                if known.get(record.identity, 0) * 2 >= record.ttl:
                    continue
                told = self._told.get(record.identity)
                if question.unicast and not here and told is not None and now - told < record.ttl / 4:
                    alone[record.identity] = record
                elif record.flush and not message.truncated:
                    at_once[record.identity] = record
                else:
                    later[record.identity] = record
        if alone:
            answers = list(alone.values())
            self._send(Message(True, answers=answers, additional=service.additional(answers, addresses)), source)
        if at_once:
            # A prober waits a quarter of a second only: it must hear of us again although everybody just did.
            self._tell(list(at_once.values()), INTERVAL if message.authorities else APART)
        if later:
            self._later(list(later.values()), source[0], MORE if message.truncated else SHARED)

    def heard(self, records: Sequence[Record]) -> None:
        """What somebody has told everybody need not be told again (section 7.4).

        Whether it was for everybody can't be seen here, so that is believed of nothing that nobody but us has to say.
        """
        told = {one.identity: one.ttl for one in records if wire.key(one.name) == ENUMERATION}
        for waiting in self._waiting:
            waiting.records = [one for one in waiting.records if told.get(one.identity, 0) < one.ttl]

    def announce(self) -> None:
        """Tell everybody all that we have."""
        service, addresses = self._service(), self._addresses()
        if service is not None and addresses:
            self._tell([*service.shared(), *service.unique(addresses)], 0.0)

    def goodbye(self, service: Service) -> None:
        """Tell everybody that it is no more (section 10.1)."""
        addresses = self._addresses()
        if addresses:
            # That there is such a service others may still say.
            gone = [service.shared()[0], *service.unique(addresses)]
            self._send(Message(True, answers=[one._replace(ttl=0) for one in gone]), None)

    def stop(self) -> None:
        """Nothing waits any more."""
        self._waiting.clear()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _answer_plainly(
        self,
        service: Service,
        addresses: Sequence[str],
        questions: Sequence[Question],
        id: int,
        source: tuple[str, int],
    ) -> None:
        """A resolver of plain DNS: answered as by a server (section 6.7)."""
        answers = {one.identity: one for question in questions for one in service.answers(question, addresses)}
        found = list(answers.values())
        if not found:
            return
        more = service.additional(found, addresses)
        plain = [
            [one._replace(ttl=min(one.ttl, LEGACY_TTL), flush=False) for one in records] for records in (found, more)
        ]
        self._send(Message(True, questions, plain[0], additional=plain[1], id=id), source)

    def _known_too(self, answers: Sequence[Record], source: str) -> None:
        """The rest of what an asker knows (section 7.2)."""
        known = _known(answers)
        for waiting in self._waiting:
            if waiting.source == source:
                waiting.records = [one for one in waiting.records if known.get(one.identity, 0) * 2 < one.ttl]

    def _later(self, records: list[Record], source: str, within: tuple[float, float]) -> None:
        self._waiting = [one for one in self._waiting if one.records]
        if len(self._waiting) >= GROUPS:
            self._left_out("answers")
            self._tell(records, APART)
            return
        due = self._reactor.seconds() + self._rng.uniform(*within)
        self._waiting.append(_Waiting(due, source, records))
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if self._waiting:
            due = min(one.due for one in self._waiting)
            self._timer = self._reactor.callLater(max(0.0, due - self._reactor.seconds()), self._flush)

    def _flush(self) -> None:
        self._timer = None
        now = self._reactor.seconds()
        due = [one for one in self._waiting if one.due <= now]
        self._waiting = [one for one in self._waiting if one.due > now]
        self._tell(list({one.identity: one for waiting in due for one in waiting.records}.values()), APART)
        self._set_timer()

    def _tell(self, records: list[Record], apart: float) -> None:
        """To everybody, but for what they were told just now."""
        service = self._service()
        now = self._reactor.seconds()
        records = [one for one in records if now - self._told.get(one.identity, -apart) >= apart]
        if service is None or not records:
            return
        more = service.additional(records, self._addresses())
        self._told = {identity: at for identity, at in self._told.items() if now - at < OLD}
        for record in (*records, *more):
            self._told[record.identity] = now
        self._send(Message(True, answers=records, additional=more), None)


INTERVAL = 0.25
"""Seconds between the probes of one who would have a name."""
OLD = 4500.0
"""Seconds after which it does not matter when a record was told."""


def _known(records: Sequence[Record]) -> dict[object, int]:
    return {one.identity: one.ttl for one in records}
