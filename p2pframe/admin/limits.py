"""Bans and limits: who is kept out, who was turned away by which bound, and how near each bound is.

Which bound a refusal comes from is what the bounds themselves declare (`BoundView.refuses`): nothing is known here of
any rule.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from p2pframe.admin import rows
from p2pframe.admin import values_limits as values
from p2pframe.admin.access import Role
from p2pframe.admin.rendering import Lazily, Made
from p2pframe.admin.routes import Call, Route
from p2pframe.admin.section import Maker
from p2pframe.interfaces import BoundView, Event, IContext, INodeView

NEAR = 0.8
"""Share of a bound from which on it is near."""
LOOK = 30.0
"""Seconds between two looks at the counters."""
LATELY = 300.0
"""Seconds that count as lately."""
REFUSALS = 200
"""Refusals that the page shows."""
PENALTIES = 500
"""Bans and discouragements that the page shows."""
KINDS = ("peer.refused", "peer.judged", "peer.banned", "session.closed")
_LOOKS = 50
"""Times that a page of the API looks further back for what is a refusal, before it says where to go on."""
_WORD = re.compile(r"[a-z]\w*")
_log = Logger(namespace="p2pframe.admin")

_Why = tuple[str, object, object]
"""Network, session and reason."""
Numbers = Mapping[str, Mapping[tuple[str, ...], float]]


class Lately:
    """What each bound had turned away some minutes ago."""

    def __init__(self, view: INodeView, context: IContext) -> None:
        self._view = view
        self._reactor = context.reactor
        self._looks: deque[tuple[float, dict[str, float]]] = deque(maxlen=int(LATELY / LOOK) + 1)
        self._timer: LoopingCall | None = None

    def start(self) -> None:
        """Look from now on."""
        self._timer = LoopingCall(self.look)
        self._timer.clock = self._reactor
        self._timer.start(LOOK).addErrback(self._failed)

    def stop(self) -> None:
        """No more."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.running:
            timer.stop()

    def look(self) -> None:
        """Remember the counters as they are."""
        self._looks.append((self._reactor.seconds(), {one.path: one.turned_away for one in self._view.bounds()}))

    def since(self, one: BoundView) -> float:
        """How many a bound has turned away lately; a bound that came since counts from nothing."""
        now = self._reactor.seconds()
        for time, counted in self._looks:
            if now - time <= LATELY:
                # After a restart of a network its counters go on; they never go back.
                return max(0.0, one.turned_away - counted.get(one.path, 0.0))
        return 0.0

    def _failed(self, failure: Failure) -> None:
        _log.failure("looking at the limits failed; it goes on", failure=failure)
        if self._timer is not None:
            self._timer.start(LOOK, now=False).addErrback(self._failed)


class LimitsSection:
    """The section of bans and limits."""

    def __init__(self, view: INodeView, lately: Lately, maker: Maker) -> None:
        self._view = view
        self._lately = lately
        self._maker = maker

    def routes(self) -> Sequence[Route]:
        """See `Section.routes`."""
        viewer = Role.VIEWER
        return [
            Route("GET", "/api/v1/limits", viewer, "Every bound: its value, use, counter, and the key that sets it.",
                  self.limits, answer=values.Limits),
            Route("GET", "/api/v1/refusals", viewer, "Who was turned away, by which rule and bound.", self.refusals,
                  values.RefusalsQuery, answer=values.Refusals),
            self._maker.page("/bans", "Bans and limits.", self.page),
        ]  # fmt: skip

    def limits(self, call: Call) -> values.Limits:
        """Those that are near first, then those that turned something away lately."""
        return values.Limits(limits=self._limits(self._view.bounds()))

    def near(self) -> list[values.Limit]:
        """Those that are near only."""
        return [one for one in self._limits(self._view.bounds()) if one.near]

    def refusals(self, call: Call) -> values.Refusals:
        """The latest first."""
        cursor = None if call.query.cursor is None else json.loads(call.query.cursor)[0]
        found, more = self._refusals(self._view.bounds(), cursor, call.query.limit)
        return values.Refusals(refusals=found, next=None if more is None else f"[{more}]")

    def page(self, call: Call) -> Made:
        """Who is kept out, who was refused, and the bounds."""
        bounds = self._view.bounds()
        refusals, _ = self._refusals(bounds, None, REFUSALS)
        penalties = self._view.penalties(0, PENALTIES + 1)
        return self._maker.made(
            "bans.html", call, "/bans", title="Bans and limits", limits=self._limits(bounds), refusals=refusals,
            penalties=Lazily(penalties[:PENALTIES], rows.penalty), more=len(penalties) > PENALTIES,
            networks=[one.name for one in self._view.networks()],
        )  # fmt: skip

    def _limits(self, bounds: Iterable[BoundView]) -> list[values.Limit]:
        shown = [limit(one, self._lately.since(one)) for one in bounds]
        # What fills up in the course of things forgets something all the time: that is nothing to look at first.
        fills = {one.path for one in bounds if one.fills}

        def rank(one: values.Limit) -> tuple[bool, bool, float]:
            lately = one.recent > 0 and one.path not in fills
            return not one.near, not lately, -(one.share or 0.0) if one.near else 0.0

        return sorted(shown, key=rank)

    def _refusals(
        self, bounds: Sequence[BoundView], before: int | None, limit: int
    ) -> tuple[list[values.Refusal], int | None]:
        """At most so many, and before which number to go on; None where there are no more."""
        by_reason: dict[tuple[str, str], list[BoundView]] = {}
        for one in bounds:
            for reason in one.refuses:
                by_reason.setdefault((one.network, reason), []).append(one)
        numbers = self._view.numbers()
        found: list[values.Refusal] = []
        for _ in range(_LOOKS):
            events = self._view.latest(limit, kinds=KINDS, before=before)
            judged: set[_Why] = {(one.network, one.session, one.fields.get("reason")) for one in events if _judged(one)}
            for event in events:
                reason = str(event.fields.get("reason", ""))
                candidates = by_reason.get((event.network, reason), [])
                if _is_refusal(event, bool(candidates), judged):
                    found.append(refusal(event, which(candidates, str(event.fields.get("evidence", ""))), numbers))
                before = event.number
                if len(found) == limit:
                    return found, before
            if len(events) < limit:
                return found, None
        return found, before


def limit(one: BoundView, recent: float) -> values.Limit:
    """A bound, as the API says it."""
    share = None
    if one.used is not None and isinstance(one.value, int | float) and one.value > 0:
        share = one.used / one.value
    return values.Limit(
        network=one.network, path=one.path, value=one.value, unit=one.unit, where=one.where, live=one.live,
        description=one.description, counter=one.counter, label=list(one.label), turned_away=one.turned_away,
        recent=recent, used=one.used, share=share, near=share is not None and share >= NEAR and not one.fills,
    )  # fmt: skip


def which(candidates: Sequence[BoundView], evidence: str) -> list[BoundView]:
    """Of the bounds that a reason may come from the one that the evidence names first; all, where it names none.

    A peer that writes a key into what it says can at most choose among those.
    """
    if len(candidates) < 2:
        return list(candidates)
    by_key = {one.path.rpartition(".")[2]: one for one in candidates}
    for word in _WORD.findall(evidence.replace("-", "_")):
        for key in sorted(by_key, key=len, reverse=True):
            if word == key or word.startswith(f"{key}_"):
                return [by_key[key]]
    return list(candidates)


def refusal(event: Event, limits: Sequence[BoundView], numbers: Numbers) -> values.Refusal:
    """One that was turned away, as the API says it."""
    fields = event.fields
    reason = str(fields.get("reason", ""))
    count = fields.get("count", 1)
    times = limits[0].turned_away if limits and limits[0].counter else None
    if times is None and event.kind == "peer.refused":
        times = numbers.get("p2pframe_refusals_total", {}).get((event.network, reason))
    elif times is None and event.kind == "peer.judged":
        key = event.network, str(fields.get("rule", "")), str(fields.get("action", ""))
        times = numbers.get("p2pframe_decisions_total", {}).get(key)
    what = {"peer.refused": "refused", "peer.banned": "ban", "session.closed": "ended"}.get(event.kind)
    return values.Refusal(
        number=event.number, time=event.time, what=what or str(fields.get("action", "judged")), network=event.network,
        session=event.session, address=None if event.address is None else str(event.address),
        subject=str(fields.get("subject", "")), rule=str(fields.get("rule", "")), reason=reason,
        evidence=str(fields.get("evidence", "")), count=count if isinstance(count, int) else 1, times=times,
        limits=[
            values.RefusedBy(
                path=one.path, value=one.value, unit=one.unit, live=one.live, counter=one.counter,
                label=list(one.label), turned_away=one.turned_away,
            )
            for one in limits
        ],
    )  # fmt: skip


def _judged(event: Event) -> bool:
    return event.kind in ("peer.judged", "peer.refused") and event.session is not None


def _is_refusal(event: Event, bounded: bool, judged: set[_Why]) -> bool:
    """Of the sessions that ended those that a bound has ended, and no verdict that stands there by itself."""
    if event.kind != "session.closed":
        return True
    if not bounded or (event.network, event.session, event.fields.get("reason")) in judged:
        return False
    # Who dialled us and never opened is told of as refused, a flood of them in one line.
    return bool(event.fields.get("opened")) or event.fields.get("slot") != "inbound"
