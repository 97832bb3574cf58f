"""The suite of `IRelayPolicy`: who is told of what, by which verbs, and what is forgotten.

Each part runs once for each set of verbs in `needs`, on links that offer that set and no more. Options of `check`:

- `within`: virtual seconds in which everybody who is to be told of an item is told of it (120);
- `everybody`: False for a policy that tells only some of its links of an item, and leaves the rest to them (True);
- `old`: seconds after which any item is old news, served to who asks for it (a day);
- `held`: items that a policy may hold for a link that does not read (25,000);
- `remembered`: ids that it may keep of what one peer says it has (100,000).
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Sequence

from p2pframe.interfaces import ILink
from p2pframe.model import Item, ItemId, Topic
from p2pframe.testing.conformance.bench import Bench
from p2pframe.testing.conformance.links import Record, SuiteLink

TX = Topic("item")
BLOCK = Topic("block")
VERBS = frozenset({"announce", "request", "deliver", "push", "graft", "prune"})

_STEP = 0.5
_ONE_OF = "Who is told of an item, when, in full or by id."
_NEVER = "or gave them in full: never tell it of them."
_FORGET = "forget the link"


def suite(bench: Bench) -> None:
    """Hold a relay policy to its interface. Raises `NonConformance`."""
    within = bench.option("within", 120.0)
    everybody = bench.option("everybody", True)
    old = bench.option("old", 86_400.0)
    held = bench.option("held", 25_000)
    remembered = bench.option("remembered", 100_000)
    for verbs in _needs(bench):

        def world(salt: int = 0, verbs: frozenset[str] = verbs) -> _World:
            return _World(bench, verbs, within, salt)

        _spreads(bench, world(), everybody)
        _urgent_is_told_at_once(bench, world(), everybody)
        _what_is_known_is_not_told(bench, world())
        _withdrawn_is_not_told(bench, world())
        _who_does_not_read_is_spared(bench, world(), held)
        _a_closed_link_is_forgotten(bench, world())
        _a_link_that_ends_while_it_is_told(bench, world())
        _old_news_is_served(bench, world(), old)
        _a_peer_cannot_fill_it(bench, world(), remembered)
        _same_again(bench, world)


class _World:
    """A policy, its links, and time."""

    def __init__(self, bench: Bench, verbs: frozenset[str], within: float, salt: int) -> None:
        self.bench = bench
        self.verbs = verbs | {"request", "deliver"}
        self.within = within
        self.salt = salt
        self.plugin, self.context = bench.make()
        bench.start(self.plugin)
        self.record = Record(self.context.reactor.seconds)

    def link(self, number: int, topic: Topic = TX, *, inbound: bool = False) -> SuiteLink:
        """A session has opened: a link of one topic, which is told of at once where the topic is `block`."""
        link = SuiteLink(
            self.record, number, topic, self.verbs, inbound=inbound, urgent=topic == BLOCK, salt=self.salt
        )
        self.call("link_added", link)
        return link

    def links(self, count: int = 3, topic: Topic = TX) -> list[SuiteLink]:
        """As many outbound ones, and then as many inbound ones."""
        return [self.link(n, topic, inbound=n > count) for n in range(1, 2 * count + 1)]

    def close(self, link: SuiteLink) -> None:
        """Its session is ending."""
        self.call("link_removed", link)
        link.removed = True

    def item(
        self, number: int, topic: Topic = TX, priority: float | None = None, aliases: tuple[ItemId, ...] = ()
    ) -> Item:
        """The item of that number."""
        return Item(topic, self.id(number), f"body {number}", 250, priority, aliases)

    def id(self, number: int) -> ItemId:
        """An id, whose hash is salted as those of links are."""
        return ItemId(_SaltedId.of(number.to_bytes(32, "big"), self.salt))

    def call(self, method: str, *args: object) -> object:
        """Call the policy; then look whether a link was wronged meanwhile."""
        sentence = "Sees links, items and topics; never a message of the wire."
        result = self.bench.call(f"IRelayPolicy.{method}", sentence, getattr(self.plugin, method), *args)
        self.check()
        return result

    def accepted(self, item: Item, source: SuiteLink | None = None) -> Item:
        """An item has been validated and stored."""
        self.call("accepted", item, source)
        return item

    def wait(self, seconds: float | None = None) -> None:
        """Let time pass, by default as much as everybody takes to be told; less where nothing is timed any more."""
        end = self.context.reactor.seconds() + (self.within if seconds is None else seconds)
        while self.context.reactor.seconds() < end:
            if not self.context.reactor.getDelayedCalls():
                self.context.reactor.advance(end - self.context.reactor.seconds())
            else:
                self.bench.call("IRelayPolicy", "", self.context.reactor.advance, _STEP)
            self.check()

    def check(self) -> None:
        """Raise the first rule that was broken towards a link."""
        for fault in self.record.faults:
            self.bench.require(False, fault.method, fault.sentence, fault.evidence)

    def end(self, links: Sequence[SuiteLink]) -> None:
        """Every session ends, and the network stops: nothing may be left to do."""
        for link in links:
            if not link.removed:
                self.close(link)
        self.bench.stop(self.plugin)
        self.wait()
        left = self.context.reactor.getDelayedCalls()
        self.bench.require(
            not left, "link_removed", _FORGET,
            lambda: f"{self.within:g} s after the last link went there are delayed calls: {[str(c) for c in left[:3]]}",
        )  # fmt: skip


class _SaltedId(bytes):
    """Bytes whose hash differs from run to run, so that the order of a set of them does."""

    _salt = 0

    @classmethod
    def of(cls, data: bytes, salt: int) -> bytes:
        """Plain bytes without a salt."""
        if not salt:
            return data
        made = cls(data)
        made._salt = salt
        return made

    def __hash__(self) -> int:
        return hash((bytes(self), self._salt))


def _needs(bench: Bench) -> Sequence[frozenset[str]]:
    needs: Sequence[frozenset[str]] = bench.cls.needs
    whole = bool(needs) and all(isinstance(verbs, frozenset) and verbs and verbs <= VERBS for verbs in needs)
    bench.require(
        whole, "needs", "Sets of verbs; the protocol must offer all verbs of at least one of them.",
        f"needs is {needs!r}; verbs are {', '.join(sorted(VERBS))}",
    )  # fmt: skip
    return needs


def _spreads(bench: Bench, world: _World, everybody: bool) -> None:
    links = world.links()
    items = []
    for number in range(30):
        source = links[number % 6] if number % 3 else None
        items.append((world.accepted(world.item(number, priority=float(number % 7) or None), source), source))
        if number % 10 == 9:
            world.wait(1.0)
    world.wait()
    for item, source in items:
        told = {link: world.record.times(link.id, item) for link in links}
        if source is not None:
            bench.require(
                not told[source], "announced", _NEVER, f"{source} brought item {item.body} and was told of it"
            )
        for link, times in told.items():
            bench.require(times <= 1, "", _ONE_OF, f"{link} was told {times} times of item {item.body}")
        eligible = [link for link in links if link is not source]
        reached = sum(1 for link in eligible if told[link])
        bench.require(
            reached == len(eligible) if everybody else reached, "", _ONE_OF,
            f"{world.within:g} s after item {item.body} was accepted {reached} of {len(eligible)} links were told of "
            f"it, not {next((link for link in eligible if not told[link]), 'one')}",
        )  # fmt: skip
    world.end(links)


def _urgent_is_told_at_once(bench: Bench, world: _World, everybody: bool) -> None:
    links = world.links(topic=BLOCK)
    others = [world.link(link.id, TX, inbound=link.inbound) for link in links]
    for number in range(3):
        source = links[number]
        block = world.accepted(world.item(number, BLOCK), source)
        world.context.reactor.advance(0)
        told = [link for link in links if link is not source and world.record.times(link.id, block)]
        bench.require(
            len(told) == len(links) - 1 if everybody else told, "ILink.urgent",
            "True where the topic's items are to be told of at once (blocks), never trickled.",
            f"at once {len(told)} of {len(links) - 1} links were told of an item of an urgent topic",
        )  # fmt: skip
        world.wait(1.0)
    world.end([*links, *others])


def _what_is_known_is_not_told(bench: Bench, world: _World) -> None:
    links = world.links()
    before, after = links[0], links[-1]
    alias = world.id(5_000)
    first, second = world.item(1, priority=1.0), world.item(2, priority=2.0, aliases=(alias,))
    world.call("announced", before, [first.id])
    world.call("announced", before, [alias])
    for item in (first, second):
        world.accepted(item)
        told = world.record.times(after.id, item)
        world.call("announced", after, [item.id])
        world.wait()
        bench.require(
            not world.record.times(before.id, item), "announced", _NEVER,
            f"{before} had said that it has item {item.body}" + (", by its alias," if item.aliases else "")
            + " and was told of it",
        )  # fmt: skip
        bench.require(
            world.record.times(after.id, item) == told, "announced", _NEVER,
            f"{after} said that it has item {item.body} while that waited to be told, and was told of it afterwards",
        )  # fmt: skip
    world.end(links)


def _withdrawn_is_not_told(bench: Bench, world: _World) -> None:
    links = world.links()
    links[0].writable = False
    items = [world.accepted(world.item(number)) for number in range(4)]
    told = {(link.id, item.id): world.record.times(link.id, item) for link in links for item in items}
    world.call("withdrawn", TX, [item.id for item in items[:2]])
    world.call("withdrawn", TX, [world.id(999)])
    world.call("withdrawn", BLOCK, [item.id for item in items[2:]])
    links[0].writable = True
    world.wait()
    for link in links:
        for item in items[:2]:
            bench.require(
                world.record.times(link.id, item) == told[link.id, item.id], "withdrawn",
                "do not tell of them any more", f"{link} was told of item {item.body} after it was withdrawn",
            )  # fmt: skip
    world.end(links)


def _who_does_not_read_is_spared(bench: Bench, world: _World, held: int) -> None:
    deaf, reading = world.link(1), world.link(2)
    deaf.writable = False
    bodies: weakref.WeakSet[_Body] = weakref.WeakSet()
    for number in range(held + held // 5):
        body = _Body()
        bodies.add(body)
        world.plugin.accepted(Item(TX, world.id(number), body, 250), None)
        if number % 1000 == 999:
            world.wait(_STEP)
    world.wait(10.0)
    told = [one for one in world.record.told if one.link == deaf.id]
    bench.require(
        not told, "ILink.writable", "False while the peer does not read: hold back what can wait.",
        f"{deaf} did not read and was told of {len(told)} items",
    )  # fmt: skip
    del body
    world.record.told.clear()
    bench.rule(
        len(bodies) <= held, "IRelayPolicy.accepted", "what is held back has a bound",
        f"{len(bodies)} items are kept for a link that does not read, after {held + held // 5} were accepted",
    )  # fmt: skip
    world.end([deaf, reading])


def _a_closed_link_is_forgotten(bench: Bench, world: _World) -> None:
    staying = world.link(1)
    gone: list[weakref.ref[ILink]] = []
    for number in range(2, 40):
        link = world.link(number, inbound=number % 2 == 0)
        link.writable = number % 3 != 0
        block = world.link(number, BLOCK, inbound=link.inbound)
        world.call("announced", link, [world.id(10_000 + number)])
        world.accepted(world.item(number), link if number % 5 == 0 else None)
        world.accepted(world.item(number, BLOCK), block)
        world.wait(_STEP)
        world.close(link)
        world.close(block)
        gone += [weakref.ref(link), weakref.ref(block)]
    del link, block
    world.wait()
    gc.collect()
    left = [ref() for ref in gone if ref() is not None]
    bench.require(
        not left, "link_removed", _FORGET,
        lambda: f"{len(left)} of {len(gone)} closed links are kept, such as {left[0]}",
    )  # fmt: skip
    world.end([staying])


def _a_link_that_ends_while_it_is_told(bench: Bench, world: _World) -> None:
    """Telling a peer may find out that it is gone; and what ends one session may end others."""
    links = world.links(topic=BLOCK)

    def ends() -> None:
        for link in (links[0], links[-1]):
            if not link.removed:
                world.plugin.link_removed(link)
                link.removed = True

    for link in links:
        link.on_told = ends
    world.accepted(world.item(1, BLOCK))
    world.wait(10.0)
    world.end(links)


def _old_news_is_served(bench: Bench, world: _World, old: float) -> None:
    serve = "False where it was not told of it and it is too new for it to have heard of it otherwise."
    links = world.links()
    held_before = world.id(777)
    item = world.accepted(world.item(1))
    world.wait()
    for link in links:
        if world.record.times(link.id, item):
            answer = world.call("may_serve", link, item.id)
            bench.require(answer is True, "may_serve", serve, f"{answer!r} for an item that {link} was told of")
    late = world.link(50, inbound=True)
    first = world.call("may_serve", late, item.id)
    bench.require(isinstance(first, bool), "may_serve", serve, f"it answers {first!r}")
    answer = world.call("may_serve", late, held_before)
    bench.require(answer is True, "may_serve", serve, f"{answer!r} for an item that is held since before the start")
    world.wait(old)
    answer = world.call("may_serve", late, item.id)
    bench.require(answer is True, "may_serve", serve, f"{answer!r} for an item that was accepted {old:g} s ago")
    world.end([*links, late])


def _a_peer_cannot_fill_it(bench: Bench, world: _World, remembered: int) -> None:
    link = world.link(1, inbound=True)
    alive = [0]

    class Counted(bytes):
        """An id that says when it is gone."""

        def __new__(cls, data: bytes) -> Counted:
            alive[0] += 1
            return super().__new__(cls, data)

        def __del__(self) -> None:
            alive[0] -= 1

    total = remembered + remembered // 5
    for start in range(0, total, 1000):
        world.plugin.announced(link, [ItemId(Counted(b"%032d" % n)) for n in range(start, start + 1000)])
    gc.collect()
    bench.rule(
        alive[0] <= remembered, "IRelayPolicy.announced", "what a peer says that it has is remembered within a bound",
        f"one link announced {total} ids and {alive[0]} of them are kept",
    )  # fmt: skip
    world.end([link])


def _same_again(bench: Bench, world: Callable[[int], _World]) -> None:
    """The same story again, then with other hashes for links and ids: the order of a set must not show."""
    first = bench.twice(lambda: _story(bench, world(0)), "the order of what is told")
    for salt in (1, 2):
        again = _story(bench, world(salt))
        bench.rule(
            again == first, "the order of what is told", "never iterate over a set where order reaches the wire",
            _first_difference(first, again),
        )  # fmt: skip


def _first_difference(one: Sequence[object], other: Sequence[object]) -> str:
    pairs = zip(one, other, strict=False)
    return next((f"first {a}, then {b}" for a, b in pairs if a != b), f"first {len(one)} tellings, then {len(other)}")


def _story(bench: Bench, world: _World) -> list[tuple[float, int, str, str, str]]:
    rng = bench.random("story")
    links = [
        world.link(number, topic, inbound=number % 2 == 0) for number in range(1, 9) for topic in (TX, BLOCK)
    ]
    for number in range(60):
        topic = BLOCK if number % 10 == 9 else TX
        fitting = [link for link in links if link.topic == topic and not link.removed]
        source = rng.choice([None, *fitting])
        aliases = (world.id(1000 + number),) if number % 4 == 0 else ()
        priority = None if number % 3 == 0 else float(number % 5)
        for link in rng.sample(fitting, 2):
            link.writable = rng.random() < 0.8
            world.call("announced", link, [world.id(number + after) for after in range(rng.randrange(4))])
        world.accepted(world.item(number, topic, priority, aliases), source)
        if number % 15 == 14:
            world.call("withdrawn", topic, [world.id(number - back) for back in range(3)])
            world.close(rng.choice(fitting))
        world.wait(rng.choice((0.0, 0.0, _STEP, 2.0)))
    for link in links:
        link.writable = True
    world.wait()
    world.end(links)
    return [(one.time, one.link, one.topic, one.verb, one.item.hex()) for one in world.record.told]


class _Body:
    """What an item carries; it can be seen to be gone."""

    __slots__ = ("__weakref__",)
