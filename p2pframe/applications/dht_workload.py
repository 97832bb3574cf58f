"""The `dht-workload` application: a DHT in use, for networks that are there to be measured.

    applications:
      - {plugin: dht-workload, network: mainline, topics: 1000, look_up_every: 1min}

Every node takes part in some topics of a list that all nodes have, says so in the DHT (BEP 5) again and again, and
looks for the peers of others; with `items` it puts and gets immutable items (BEP 44) as well, whose targets follow
from their numbers, so that nobody has to be told of them. When and what is drawn from `context.rng`.

Each lookup is one log event. Beside its text it has these fields:

    lookup    what was looked for: `peers` of a topic, or an `item`
    found     whether there was any
    seconds   from the first query to the end of the search (an item's ends with the first answer that has it)
    first     from the first query to the first answer with what was looked for; None where there was none
    hops      nodes that told of one another on the way to the nearest; None for items and for what failed
    queries   messages sent for it; None likewise
    lost      those of them without an answer; None likewise
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from hashlib import sha1
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure
from zope.interface import implementer

from p2pframe.errors import P2PFrameError
from p2pframe.interfaces import IApplication, IContext, IReconfigurable
from p2pframe.plugin import Duration, Field, PluginConfig, live, plugin
from p2pframe.protocols.mainline.api import IMainline, encode, infohash

JITTER = 0.2
"""What is done again and again is done that share sooner or later: nodes that started at once do not go on in step."""


class DhtWorkloadConfig(PluginConfig):
    """Options of the `dht-workload` application."""

    topics: int = Field(100, ge=1, description="Topics that there are, the same for all nodes.")
    prefix: str = Field("workload-", max_length=100, description="What their names begin with; a number follows.")
    announce: int = Field(1, ge=0, le=1000, description="Topics that this node takes part in, drawn at its start.")
    announce_after: Duration = live(10.0, ge=0, description="They are announced this long after the DHT is ready...")
    announce_every: Duration = live(900.0, gt=0, description="...and again after this time, about.")
    port: int = live(6881, ge=1, le=65_535, description="The port that is announced.")
    look_up_after: Duration = live(60.0, ge=0, description="Nothing is looked for until the DHT is ready for so long.")
    look_up_every: Duration | None = live(
        None, gt=0, description="The mean time between two lookups of peers, drawn exponentially; unset: none."
    )
    items: int = Field(0, ge=0, description="Immutable items that there are, the same for all nodes.")
    put: int = Field(1, ge=0, le=1000, description="Items among them that this node puts when it announces.")
    get_every: Duration | None = live(
        None, gt=0, description="The mean time between two lookups of items, drawn exponentially; unset: none."
    )
    at_once: int = live(16, ge=1, le=1000, description="Lookups under way at once; beyond it none is begun.")


@plugin("dht-workload", config=DhtWorkloadConfig)
@implementer(IApplication, IReconfigurable)
class DhtWorkload:
    """Announces, puts and looks up in a DHT as its users would; for test networks and the simulator."""

    name = "dht-workload"

    def __init__(self, config: DhtWorkloadConfig, context: IContext) -> None:
        self.config = config
        self._clock = context.reactor
        self._rng = context.rng
        self._log = context.log
        self._dht = context.service(IMainline)
        self._waiting: Deferred[None] | None = None
        self._timers: dict[str, IDelayedCall] = {}
        """By what they are for: a handful, each set anew when it went off."""
        self._under_way: dict[Deferred[None], None] = {}
        self._topics: list[int] = []
        self._items: list[int] = []
        self._stopped = False
        metrics = context.metrics
        self._told = metrics.counter(
            "dht_workload_stores_total", "Announcements and puts, by kind and what came of them.", ["kind", "outcome"]
        )
        self._looked = metrics.counter(
            "dht_workload_lookups_total", "Lookups, by kind and what came of them.", ["kind", "outcome"]
        )

    def reconfigure(self, config: object) -> None:
        """See `IReconfigurable`: times hold from the next one that is drawn."""
        self.config = cast(DhtWorkloadConfig, config)

    def start(self) -> None:
        """Draws what is announced and put, and waits for the DHT."""
        config = self.config
        self._topics = self._rng.sample(range(config.topics), min(config.announce, config.topics))
        self._items = self._rng.sample(range(config.items), min(config.put, config.items))
        self._waiting = self._dht.when_ready()
        # It fails where the network stops first: then there is nothing to do.
        self._waiting.addCallbacks(self._ready, _nothing)

    def stop(self) -> None:
        """Nothing is begun any more; what is under way ends with the network, untold."""
        self._stopped = True
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.cancel()
        for timer in self._timers.values():
            if timer.active():
                timer.cancel()
        self._timers.clear()
        for one in list(self._under_way):
            one.cancel()
        self._under_way.clear()

    # --- when ---

    def _ready(self, _: None) -> None:
        self._waiting = None
        config = self.config
        if self._topics or self._items:
            self._at("store", config.announce_after * self._jitter(), self._store)
        self._at("look up", config.look_up_after, self._next_lookup)
        self._at("get", config.look_up_after, self._next_get)

    def _at(self, what: str, seconds: float, call: Callable[[], None]) -> None:
        self._timers[what] = self._clock.callLater(seconds, call)

    def _jitter(self) -> float:
        return self._rng.uniform(1.0 - JITTER, 1.0 + JITTER)

    def _next_lookup(self) -> None:
        if self.config.look_up_every is not None:
            self._at("look up", self._rng.expovariate(1.0 / self.config.look_up_every), self._look_up)

    def _next_get(self) -> None:
        if self.config.get_every is not None and self.config.items:
            self._at("get", self._rng.expovariate(1.0 / self.config.get_every), self._get)

    # --- what ---

    def _store(self) -> None:
        self._at("store", self.config.announce_every * self._jitter(), self._store)
        for number in self._topics:
            self._run(partial(self._announce, number))
        for number in self._items:
            self._run(partial(self._put, number))

    async def _announce(self, number: int) -> None:
        try:
            stored = await self._dht.announce_peer(infohash(self._topic(number)), self.config.port)
        except P2PFrameError:
            self._told.add(1, "announcement", "failed")
            return
        self._told.add(1, "announcement", "stored" if stored else "nobody took it")

    async def _put(self, number: int) -> None:
        try:
            put = await self._dht.put_immutable(self._value(number))
        except P2PFrameError:
            self._told.add(1, "item", "failed")
            return
        self._told.add(1, "item", "stored" if put.stored else "nobody took it")

    def _look_up(self) -> None:
        self._next_lookup()
        number = self._other(self.config.topics, self._topics)
        if self._may("peers"):
            self._run(partial(self._find_peers, infohash(self._topic(number))))

    def _get(self) -> None:
        self._next_get()
        number = self._other(self.config.items, self._items)
        if self._may("item"):
            self._run(partial(self._find_item, sha1(encode(self._value(number)), usedforsecurity=False).digest()))

    async def _find_peers(self, target: bytes) -> None:
        began = self._clock.seconds()
        try:
            found = await self._dht.get_peers(target)
        except P2PFrameError as error:
            self._failed("peers", target, began, error)
            return
        self._tell(
            "peers", target, bool(found.peers), found.seconds, found.first, found.hops, found.queries, found.lost
        )

    async def _find_item(self, target: bytes) -> None:
        began = self._clock.seconds()
        try:
            item = await self._dht.get_immutable(target)
        except P2PFrameError as error:
            self._failed("item", target, began, error)
            return
        seconds = self._clock.seconds() - began
        self._tell("item", target, item is not None, seconds, None if item is None else seconds)

    def _tell(
        self,
        kind: str,
        target: bytes,
        found: bool,
        seconds: float,
        first: float | None,
        hops: int | None = None,
        queries: int | None = None,
        lost: int | None = None,
    ) -> None:
        if self._stopped:
            return
        self._looked.add(1, kind, "found" if found else "not found")
        self._log.info(
            "looked for {lookup} of {target}: found {found}, {seconds:.3f} s, {hops} hops, {queries} queries",
            lookup=kind, target=target.hex(), found=found, seconds=seconds, first=first, hops=hops, queries=queries,
            lost=lost,
        )  # fmt: skip

    def _failed(self, kind: str, target: bytes, began: float, error: P2PFrameError) -> None:
        if self._stopped:
            return
        self._looked.add(1, kind, "failed")
        self._log.warn(
            "looked for {lookup} of {target}: {error}",
            lookup=kind, target=target.hex(), error=str(error), found=False, seconds=self._clock.seconds() - began,
            first=None, hops=None, queries=None, lost=None,
        )  # fmt: skip

    # --- within ---

    def _topic(self, number: int) -> str:
        return f"{self.config.prefix}{number}"

    def _value(self, number: int) -> bytes:
        """An item: what it says makes its target."""
        return self._topic(number).encode()

    def _other(self, count: int, own: list[int]) -> int:
        """One of `count` that is not our own, where there is such a one: our own we would find at home."""
        if len(own) >= count:
            return self._rng.randrange(count)
        while True:
            number = self._rng.randrange(count)
            if number not in own:
                return number

    def _may(self, kind: str) -> bool:
        if len(self._under_way) < self.config.at_once:
            return True
        self._looked.add(1, kind, "left out")
        return False

    def _run(self, job: Callable[[], Coroutine[Deferred[Any], Any, None]]) -> None:
        running = Deferred.fromCoroutine(job())
        self._under_way[running] = None
        running.addBoth(self._over, running)

    def _over(self, result: object, running: Deferred[None]) -> None:
        self._under_way.pop(running, None)
        # What was cancelled may come back as whatever the network makes of that.
        if isinstance(result, Failure) and not self._stopped:
            self._log.failure("what was asked of the DHT has failed", failure=result)


def _nothing(_: Failure) -> None:
    """What was cancelled, or has stopped by itself, is over."""
