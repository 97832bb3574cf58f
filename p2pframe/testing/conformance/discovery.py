"""The suite of `IDiscovery`: finds within a limit, lets itself be cancelled, takes back what it has announced.

It is run in three worlds: in one names resolve and files can be read, in one nothing is ever answered, in one all of it
fails. Options of `check`:

- `names`: what names resolve to in the first, as a mapping (every name to the same few hundred addresses);
- `finds`: how many addresses it has to find in the first at the least (0);
- `listens`: it goes on listening between two looks, and until `withdraw` (False).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from p2pframe.interfaces import DiscoveryState
from p2pframe.model import FoundAddress, PeerAddress
from p2pframe.testing.conformance.bench import Bench
from p2pframe.testing.conformance.surroundings import Mood, Surroundings

BOUND = (PeerAddress("192.0.2.1", 8333), PeerAddress("2001:db8::1", 8333), PeerAddress("127.0.0.1", 1))
DAY = 86_400.0
WITHDRAWING = 5.0
"""Seconds that core waits at a stop (`limits.close_timeout`)."""

_DUE = "Never raises."
_FIND = "look for at most `limit` addresses."
_CANCEL = "Cancelled at stop and after `limits.discovery_timeout`."
_FAILURE = "A failure is logged with the plugin's name, counted, and retried with backoff."
_ANNOUNCE = "Fires when that is done, where the plugin can do it at all."
_UNTIL = "what goes on between looks ends."
_WITHDRAW = "Called at stop: take it back, as far as the plugin can"


def suite(bench: Bench) -> None:
    """Hold a discovery to its interface. Raises `NonConformance`."""
    names: Mapping[str, Sequence[str]] | None = bench.option("names", None)
    finds = bench.option("finds", 0)

    def world(mood: Mood) -> _World:
        return _World(bench, mood, names)

    plugin, _ = bench.make()
    manual = plugin.manual
    bench.require(
        isinstance(manual, bool), "manual", "True where what is found are the operator's own peers",
        f"manual is {manual!r}",
    )  # fmt: skip
    _is_due_some_time(bench, world)
    for limit in (1, 7, 1000):
        _finds_within_a_limit(bench, world, limit, min(finds, limit))
    _can_be_cancelled(bench, world)
    _fails_by_its_deferred(bench, world)
    for mood in ("answering", "silent", "failing"):
        for addresses in (BOUND, (), None):
            _takes_back_what_it_announced(bench, world(mood), addresses)
    bench.twice(lambda: _story(world("answering")), "what it finds")


class _World:
    """A discovery, and what is around it."""

    def __init__(self, bench: Bench, mood: Mood, names: Mapping[str, Sequence[str]] | None) -> None:
        self.bench = bench
        self.mood = mood
        self.context = bench.context()
        self.outside = Surroundings(self.context, mood, names)
        self.plugin = bench.build(self.context)
        bench.start(self.plugin)

    def call(self, method: str, sentence: str, *args: object) -> _Outcome:
        """Ask for what is answered by a Deferred."""
        what = f"in the {self.mood} world"
        answer = self.bench.call(method, sentence, getattr(self.plugin, method), *args)
        self.bench.require(isinstance(answer, Deferred), method, sentence, f"{what} it answers {answer!r:.200}")
        return _Outcome(answer)

    def wait(self, outcome: _Outcome, seconds: float) -> None:
        """Let time pass until it has fired, at most so long."""
        waited = 0.0
        while not outcome.fired and waited < seconds:
            self.bench.call("", "", self.context.reactor.advance, 0.5)
            waited += 0.5

    def cancel(self, outcome: _Outcome, method: str, sentence: str) -> None:
        """Cancel what has not fired: it must fire then, and leave nothing under way."""
        if outcome.fired:
            return
        self.bench.call(method, sentence, outcome.deferred.cancel)
        self.wait(outcome, 1.0)
        self.bench.require(
            outcome.fired, method, sentence, f"in the {self.mood} world its Deferred was cancelled and has not fired"
        )

    def nothing_open(self, method: str, sentence: str, when: str) -> None:
        """Nothing is timed or open; of one that listens between looks that holds after `withdraw` only."""
        left = self.outside.open() if method != "find" or not self.bench.option("listens", False) else []
        self.bench.require(
            not left, method, sentence, f"in the {self.mood} world there is {', '.join(left[:3])} {when}"
        )

    def end(self) -> None:
        """Stop it, where it is a service; one that listens lets go of what it has."""
        if self.bench.option("listens", False):
            withdrawing = self.call("withdraw", _WITHDRAW)
            self.wait(withdrawing, WITHDRAWING)
            self.nothing_open("withdraw", _UNTIL, "after it")
        self.bench.stop(self.plugin)


class _Outcome:
    """A Deferred and what came of it."""

    def __init__(self, deferred: Deferred[Any]) -> None:
        self.deferred = deferred
        self.fired = False
        self.result: Any = None
        self.failure: Failure | None = None
        deferred.addCallbacks(self._came, self._failed)

    def _came(self, result: Any) -> None:
        self.fired, self.result = True, result

    def _failed(self, failure: Failure) -> None:
        self.fired, self.failure = True, failure


_Worlds = Callable[[Mood], _World]


def _is_due_some_time(bench: Bench, world: _Worlds) -> None:
    here = world("answering")
    ever = False
    for outbound, wanted, book in ((0, 8, 0), (0, 0, 0), (8, 8, 10**6), (1, 8, 50), (10**6, 8, 0)):
        for uptime in (0.0, 1.0, 30.0, 600.0, DAY):
            for last in (None, 0.0, 1.0, uptime, DAY):
                state = DiscoveryState(uptime, outbound, wanted, book, last)
                answer = bench.call("due", _DUE, here.plugin.due, state)
                bench.require(isinstance(answer, bool), "due", _DUE, f"it answers {answer!r} to {state}")
                ever = ever or (answer and last is None and not outbound and uptime < DAY)
    bench.rule(
        ever, "IDiscovery.due", "a discovery looks for peers where there are none",
        "it was not due within ten minutes, without a peer and with an empty address book",
    )  # fmt: skip
    here.end()


def _finds_within_a_limit(bench: Bench, world: _Worlds, limit: int, least: int) -> None:
    here = world("answering")
    outcome = here.call("find", _FIND, limit)
    here.wait(outcome, 60.0)
    if not outcome.fired:
        bench.rule(not least, "IDiscovery.find", "it finds what is there", f"nothing came of it for {limit} in 60 s")
        here.cancel(outcome, "find", _CANCEL)
    elif outcome.failure is not None:
        bench.rule(not least, "IDiscovery.find", "it finds what is there", outcome.failure.getTraceback())
    else:
        found = outcome.result
        bench.require(isinstance(found, Sequence), "find", _FIND, f"it finds {found!r:.200}")
        bench.require(len(found) <= limit, "find", _FIND, f"it was to find at most {limit} and found {len(found)}")
        bench.rule(
            len(found) >= least, "IDiscovery.find", "it finds what is there",
            f"of at least {least} addresses that there are it found {len(found)}",
        )  # fmt: skip
        for one in found:
            _check_found(bench, one)
        dialled = here.outside.dialled()
        sessions = [one.address for one in found if (one.address.host, one.address.port) in dialled]
        bench.require(
            not sessions, "", "Opens no session: core takes what is found into the address book.",
            f"it dialled {', '.join(map(str, sessions[:3]))}",
        )  # fmt: skip
    here.nothing_open("find", _CANCEL, "after it")
    here.end()


def _check_found(bench: Bench, one: Any) -> None:
    bench.require(isinstance(one, FoundAddress), "find", _FIND, f"it found {one!r:.200}")
    where = one.address
    bench.rule(
        isinstance(where, PeerAddress) and PeerAddress.of(where.host, where.port) == where, "IDiscovery.find",
        "`host` is a normalised textual address: see `PeerAddress.of`", f"it found {where!r}",
    )  # fmt: skip
    bench.rule(
        one.last_seen is None or (isfinite(one.last_seen) and 0 <= one.last_seen < 1e11), "IDiscovery.find",
        "`last_seen` is unix time in seconds, None if not said", f"{where} was last seen at {one.last_seen!r}",
    )  # fmt: skip
    bench.rule(
        type(one.services) is int and 0 <= one.services < 2**64, "IDiscovery.find", "services are bits",
        f"{where} has the services {one.services!r}",
    )  # fmt: skip


def _can_be_cancelled(bench: Bench, world: _Worlds) -> None:
    here = world("silent")
    for after in (0.0, 1.0, 100.0):
        outcome = here.call("find", _CANCEL, 1000)
        here.wait(outcome, after)
        here.cancel(outcome, "find", _CANCEL)
        here.nothing_open("find", _CANCEL, f"after a find was cancelled {after:g} s after it began")
    here.end()


def _fails_by_its_deferred(bench: Bench, world: _Worlds) -> None:
    here = world("failing")
    for _ in range(2):
        outcome = here.call("find", _FAILURE, 1000)
        here.wait(outcome, 60.0)
        here.cancel(outcome, "find", _CANCEL)
        here.nothing_open("find", _FAILURE, "after a find failed")
    bench.call("due", _DUE, here.plugin.due, DiscoveryState(1000.0, 0, 8, 0, 60.0))
    here.end()


def _takes_back_what_it_announced(bench: Bench, here: _World, addresses: Sequence[PeerAddress] | None) -> None:
    """Also where nothing was announced: a network that could not start is stopped as well."""
    if addresses is not None:
        announcing = here.call("announce", _ANNOUNCE, addresses)
        here.wait(announcing, 10.0)
        here.cancel(announcing, "announce", "Cancelled at stop.")
        if here.mood == "answering" and announcing.failure is not None:
            bench.require(False, "announce", _ANNOUNCE, announcing.failure.getTraceback())
    withdrawing = here.call("withdraw", _WITHDRAW)
    here.wait(withdrawing, WITHDRAWING)
    what = "where nothing had been announced" if addresses is None else f"after {len(addresses)} had been announced"
    bench.require(
        withdrawing.fired or here.mood == "silent", "withdraw", _WITHDRAW,
        f"{what} its Deferred has not fired within {WITHDRAWING:g} s",
    )  # fmt: skip
    bench.require(
        withdrawing.failure is None or here.mood == "failing", "withdraw", _WITHDRAW,
        lambda: f"{what}: {withdrawing.failure.getTraceback() if withdrawing.failure else ''}",
    )  # fmt: skip
    here.cancel(withdrawing, "withdraw", _WITHDRAW)
    here.end()
    here.nothing_open("withdraw", _WITHDRAW, what)


def _story(here: _World) -> list[object]:
    told: list[object] = []
    for limit in (5, 50, 500):
        outcome = here.call("find", _FIND, limit)
        here.wait(outcome, 60.0)
        here.cancel(outcome, "find", _CANCEL)
        told.append([str(one.address) for one in outcome.result or ()])
        here.context.reactor.advance(700.0)
        told.append([here.plugin.due(DiscoveryState(700.0, 0, 8, 0, 700.0)), len(here.outside.ports)])
    here.end()
    return told
