"""The suite of `IScorer`: named parts within 0..1, verdicts with reasons, nobody punished for what anyone could forge.

No options.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from math import inf, isfinite, nan
from random import Random
from typing import Any

from p2pframe.model import Action, Fact, Floor, Score, ScorePart, SessionCounters, SessionId
from p2pframe.testing.conformance.bench import Bench
from p2pframe.testing.conformance.quiet import touched
from p2pframe.testing.conformance.verdicts import check_verdict

KINDS = (
    "bad-block", "bad-headers", "bad-transaction", "bad-item", "protocol-violation", "unreadable", "flood", "excess",
    "timeout", "useful-block", "useful-item", "never-heard-of", "", "\ud800 {} \x00",
)  # fmt: skip
"""Kinds of fact that the built-in parts report, and some that no scorer knows."""
HARMLESS = Fact("never-heard-of", proven=True, weight=1e-3)

_PARTS = "its worth, with the parts"
_VERDICT = "The fact's floor stands whatever this answers."
_CLOSED = "Called when it has ended, also where it never opened: forget it."
_UNPROVEN = "an unproven fact may only limit rates"


def suite(bench: Bench) -> None:
    """Hold a scorer to its interface. Raises `NonConformance`."""
    _says_whether_it_is_a_dry_run(bench)
    _scores_whatever_was_counted(bench)
    _judges_whatever_was_observed(bench)
    _what_anyone_could_forge_counts_for_nothing(bench)
    _a_closed_session_is_forgotten(bench)
    _closed_sessions_take_no_room(bench)
    _each_session_may_end_at_any_time(bench)
    bench.twice(lambda: _story(bench), "what it scores and says")


def _says_whether_it_is_a_dry_run(bench: Bench) -> None:
    sentence = "True: its scores and verdicts are shown and counted, and not acted on."
    plugin, _ = bench.make()
    bench.require(isinstance(plugin.dry_run, bool), "dry_run", sentence, lambda: f"dry_run is {plugin.dry_run!r}")
    if "dry_run" in bench.spec.config.model_fields:
        for wanted in (True, False):
            plugin, _ = bench.make(dry_run=wanted)
            said = plugin.dry_run
            bench.require(said is wanted, "dry_run", sentence, f"with the option at {wanted} it is {said!r}")


def _scores_whatever_was_counted(bench: Bench) -> None:
    plugin, _ = bench.make()
    rng = bench.random("counters")
    now = 0.0
    for number, counters in enumerate(_counters(rng)):
        session = SessionId(number % 7)
        now = max(now, counters.opened) + rng.choice((0.0, 1e-6, 5.0, 1e6))
        if number < 7:
            bench.call("opened", "Called when a session has opened", plugin.opened, session, now)
        before = _plain(counters)
        score = bench.call("sample", _PARTS, plugin.sample, session, counters, now)
        bench.require(
            _plain(counters) == before, "sample", _PARTS, lambda: "it changed the counters, which are the session's"
        )
        _check_score(bench, score, before)


def _check_score(bench: Bench, score: Any, of: object) -> None:
    bench.require(isinstance(score, Score), "sample", _PARTS, f"it answers {score!r}")
    bench.require(score.scorer == bench.spec.name, "sample", _PARTS, f"the score says that it is of {score.scorer!r}")
    bench.rule(
        isfinite(score.value) and 0 <= score.value <= 1, "IScorer.sample", "0..1, with the parts that it is made of",
        f"the score is {score.value!r} for {of}",
    )  # fmt: skip
    names = [part.name for part in score.parts if isinstance(part, ScorePart)]
    bench.require(
        names and all(names) and len(set(names)) == len(score.parts), "sample", _PARTS,
        f"a score has named parts, each name once; these are {score.parts!r}",
    )  # fmt: skip
    for part in score.parts:
        bench.rule(
            isfinite(part.value) and 0 <= part.value <= 1 and isfinite(part.weight) and part.weight >= 0,
            "IScorer.sample", "`value` is normalised to 0..1, `weight` is its share",
            f"the part {part.name} has the value {part.value!r} and the weight {part.weight!r} for {of}",
        )  # fmt: skip
        bench.rule(
            part.raw is None or isfinite(part.raw), "IScorer.sample", "`raw` what was measured",
            f"the part {part.name} measured {part.raw!r} for {of}",
        )  # fmt: skip


def _judges_whatever_was_observed(bench: Bench) -> None:
    plugin, _ = bench.make()
    rng = bench.random("facts")
    now = 0.0
    for number in range(600):
        now += rng.choice((0.0, 0.0, 1.0, 3600.0))
        fact = _fact(rng)
        # Also before the session has opened: none of these ever is.
        verdict = bench.call("observed", _VERDICT, plugin.observed, SessionId(number % 5), fact, now)
        _check_answer(bench, verdict, fact)
        if number % 10 == 0:
            counters = SessionCounters(0.0)
            score = bench.call("sample", _PARTS, plugin.sample, SessionId(number % 5), counters, now)
            _check_score(bench, score, f"a session after {number + 1} facts, the last of them {_short(fact)}")


def _check_answer(bench: Bench, verdict: Any, fact: Fact) -> None:
    check_verdict(bench, "observed", _VERDICT, verdict, _short(fact))
    if not fact.proven:
        bench.rule(
            verdict.action <= Action.DISCONNECT, "IScorer.observed", _UNPROVEN,
            lambda: f"{verdict.action.name} for {_short(fact)}, which anyone could have forged",
        )  # fmt: skip


def _what_anyone_could_forge_counts_for_nothing(bench: Bench) -> None:
    """What a scorer gathers must not grow by unproven facts either: the next proven one would set it off."""
    for kind in KINDS:
        plugin, _ = bench.make()
        slandered, clean = SessionId(1), SessionId(2)
        for session in (slandered, clean):
            plugin.opened(session, 1.0)
        for _ in range(300):
            bench.call("observed", _VERDICT, plugin.observed, slandered, Fact(kind, weight=10.0), 1.0)
        theirs, ours = (plugin.observed(session, HARMLESS, 1.0) for session in (slandered, clean))
        bench.rule(
            theirs.action == ours.action, "IScorer.observed", _UNPROVEN,
            lambda theirs=theirs, ours=ours, kind=kind:
            f"after 300 unproven facts of the kind {kind!r} a harmless proven one leads to {theirs.action.name}, "
            f"without them to {ours.action.name}",
        )  # fmt: skip


def _a_closed_session_is_forgotten(bench: Bench) -> None:
    fresh, _ = bench.make()
    plugin, _ = bench.make()
    session = SessionId(1)
    for each in (plugin, fresh):
        each.opened(session, 1.0)
    counters = next(_counters(bench.random("closed")))
    counters.opened, counters.bytes_in, counters.last_receive = 1.0, 10**9, 90.0
    plugin.sample(session, counters, 100.0)
    for kind in KINDS:
        for _ in range(5):
            plugin.observed(session, Fact(kind, proven=True, weight=2.0), 100.0)
    bench.call("closed", _CLOSED, plugin.closed, session)
    bench.call("closed", _CLOSED, fresh.closed, session)
    for each in (plugin, fresh):
        each.opened(session, 200.0)
    begun = SessionCounters(200.0)
    begun.opened = 200.0
    mine, theirs = (each.sample(session, begun, 210.0) for each in (plugin, fresh))
    bench.require(mine == theirs, "closed", _CLOSED, lambda: f"it scores {mine} where a fresh one scores {theirs}")
    first, second = (each.observed(session, HARMLESS, 210.0) for each in (plugin, fresh))
    bench.require(
        first == second, "closed", _CLOSED, lambda: f"it answers {first} where a fresh one answers {second}"
    )


def _closed_sessions_take_no_room(bench: Bench) -> None:
    plugin, _ = bench.make()
    alive: set[int] = set()

    class Counted(int):
        """A session's id that says when it is gone."""

        def __del__(self) -> None:
            alive.discard(int(self))

    for number in range(300):
        alive.add(number)
        session = SessionId(Counted(number))
        counters = SessionCounters(float(number))
        counters.opened = float(number)
        plugin.opened(session, float(number))
        plugin.sample(session, counters, number + 10.0)
        plugin.observed(session, HARMLESS, number + 20.0)
        plugin.closed(session)
    del session
    gc.collect()
    bench.require(
        len(alive) < 10, "closed", _CLOSED, lambda: f"of 300 sessions that have ended {len(alive)} ids are still kept"
    )


def _each_session_may_end_at_any_time(bench: Bench) -> None:
    plugin, _ = bench.make()
    never, judged, opened = SessionId(1), SessionId(2), SessionId(3)
    bench.call("closed", _CLOSED, plugin.closed, never)
    plugin.observed(judged, Fact("bad-block", proven=True), 1.0)
    bench.call("closed", _CLOSED, plugin.closed, judged)
    plugin.opened(opened, 1.0)
    bench.call("closed", _CLOSED, plugin.closed, opened)


def _story(bench: Bench) -> list[object]:
    plugin, context = bench.make()
    rng = bench.random("story")
    told: list[object] = []
    now = 1.0
    for number, counters in enumerate(_counters(rng)):
        now += rng.random() * 10
        session = SessionId(number // 20 * 10 + number % 10)
        if number % 20 < 10:
            plugin.opened(session, now)
        told.append(plugin.sample(session, counters, now))
        told += [plugin.observed(session, _fact(rng), now) for _ in range(3)]
        if number % 20 >= 10:
            plugin.closed(session)
    done = touched(context)
    bench.rule(not done, "IScorer", "a scorer is told the time, and does nothing but answer", f"there are {done}")
    return told


def _counters(rng: Random) -> Iterator[SessionCounters]:
    """What a session may have counted: nothing yet, the most there can be, and much between."""
    for number in range(200):
        counters = SessionCounters(rng.choice((0.0, 1.0, 1e9)))
        counters.opened = rng.choice((0.0, counters.started, counters.started + rng.random() * 100))
        times = (0.0, counters.opened, counters.opened + rng.random() * 1e5)
        for name in ("last_receive", "last_send", "last_item", "last_block"):
            setattr(counters, name, rng.choice(times))
        numbers = (0, 1, rng.randrange(10**6), 2**64)
        for name in (
            "bytes_in", "bytes_out", "received", "sent", "accepted_items", "rejected_items", "timeouts", "turned_away",
        ):  # fmt: skip
            setattr(counters, name, rng.choice(numbers) if number else 0)
        counters.ping = rng.choice((None, 0.0, 1e-9, rng.random(), 1e6)) if number else None
        counters.best_ping = counters.ping if counters.ping is None else rng.choice((counters.ping, 0.0))
        if number % 10 == 9:
            counters.messages_in = {f"kind{n}": rng.choice(numbers) for n in range(50)}
            counters.messages_out = {"*": 2**64}
        yield counters


def _fact(rng: Random) -> Fact:
    return Fact(
        rng.choice(KINDS),
        rng.choice(tuple(Floor)),
        rng.choice(("", "asked for it", "x" * 10_000, "\ud800{format} %s \n\x00")),
        rng.random() < 0.7,
        rng.choice((1.0, 1.0, 1.0, 0.0, -5.0, 1e-300, 1e300, inf, -inf, nan)),
    )


def _plain(counters: SessionCounters) -> dict[str, object]:
    found = {name: getattr(counters, name) for name in SessionCounters.__slots__}
    return {name: dict(value) if isinstance(value, dict) else value for name, value in found.items()}


def _short(fact: Fact) -> str:
    return f"a fact of the kind {fact.kind!r}, weight {fact.weight}, {'proven' if fact.proven else 'unproven'}"


