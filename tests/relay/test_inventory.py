"""Inventory tells ids in trickles, the most valuable first, gives spies nothing, and stays small when attacked."""

from __future__ import annotations

import gc
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from p2pframe.interfaces import IReconfigurable, IRelayPolicy
from p2pframe.relay.inventory import InventoryConfig, InventoryRelay
from p2pframe.testing.context import FakeContext
from tests.relay.fake_link import BLOCK, TX, FakeLink, SmallNetwork, item


@pytest.fixture
def context() -> FakeContext:
    return FakeContext("relay.inventory")


def inventory(context: FakeContext, *links: FakeLink, **config) -> InventoryRelay:
    relay = InventoryRelay(InventoryConfig(**config), context)
    for link in links:
        relay.link_added(link)
    return relay


def link_of(context: FakeContext, id: int, **about) -> FakeLink:
    return FakeLink(id, seconds=context.reactor.seconds, **about)


def run(context: FakeContext, seconds: float) -> None:
    """From event to event, so that every call sees its own time."""
    end = context.reactor.seconds() + seconds
    while True:
        times = [call.getTime() for call in context.reactor.getDelayedCalls()]
        if not times or min(times) > end:
            break
        context.reactor.advance(max(0.0, min(times) - context.reactor.seconds()))
    context.reactor.advance(end - context.reactor.seconds())


def test_it_is_a_policy_that_needs_announce(context) -> None:
    relay = inventory(context)
    verifyObject(IRelayPolicy, relay)
    verifyObject(IReconfigurable, relay)
    assert list(InventoryRelay.needs) == [frozenset({"announce"})]


def test_an_idle_policy_has_no_timer_and_an_idle_link_no_filter(context) -> None:
    relay = inventory(context, *(link_of(context, n, inbound=n % 2 == 0) for n in range(100)))
    assert context.reactor.getDelayedCalls() == []
    assert all(told.known is None for told in relay._links[TX].values())


def test_items_trickle_and_all_inbound_links_are_told_at_the_same_moment(context) -> None:
    links = [link_of(context, n, inbound=True) for n in range(10)]
    relay = inventory(context, *links)
    relay.accepted(item(1), None)
    assert all(link.batches == [] for link in links)
    assert len(context.reactor.getDelayedCalls()) == 1
    run(context, 60)
    assert len({tuple(link.times) for link in links}) == 1
    assert all(link.announced == [item(1)] for link in links)
    assert context.metrics.value("relay_announced_total", TX) == 10


def test_outbound_links_have_a_clock_each_and_share_one_timer(context) -> None:
    links = [link_of(context, n) for n in range(10)]
    relay = inventory(context, *links)
    relay.accepted(item(1), None)
    assert len(context.reactor.getDelayedCalls()) == 1
    run(context, 60)
    assert len({link.times[0] for link in links}) == 10


def test_the_clocks_are_exponential_with_the_configured_means(context) -> None:
    inbound, outbound = link_of(context, 1, inbound=True), link_of(context, 2)
    relay = inventory(context, inbound, outbound)
    delays: dict[int, list[float]] = {1: [], 2: []}
    for number in range(600):
        start = context.reactor.seconds()
        relay.accepted(item(number), None)
        run(context, 100)
        for link in (inbound, outbound):
            delays[link.id].append(link.times[-1] - start)
    for id, mean in ((1, 5.0), (2, 2.0)):
        assert statistics.fmean(delays[id]) == pytest.approx(mean, rel=0.15)
        assert statistics.stdev(delays[id]) == pytest.approx(mean, rel=0.25), "exponential: as wide as its mean"


def test_the_highest_priority_goes_first_and_the_unknown_last(context) -> None:
    link = link_of(context, 1)
    relay = inventory(context, link)
    for number, priority in enumerate([5.0, None, 900.0, 0.0, 17.0]):
        relay.accepted(item(number, priority), None)
    run(context, 60)
    assert [told.priority for told in link.announced] == [900.0, 17.0, 5.0, 0.0, None]


def test_equal_ones_do_not_show_in_which_order_they_came(context) -> None:
    link = link_of(context, 1)
    relay = inventory(context, link)
    arrival = [item(number, 1.0) for number in range(20)]
    for one in arrival:
        relay.accepted(one, None)
    run(context, 60)
    assert link.announced != arrival
    assert link.announced != arrival[::-1]
    assert sorted(told.id for told in link.announced) == [one.id for one in arrival]


def test_on_average_fourteen_a_second_and_never_more_than_one_announcement_may_hold(context) -> None:
    inbound, outbound = link_of(context, 1, inbound=True), link_of(context, 2)
    relay = inventory(context, inbound, outbound)
    for number in range(5000):
        relay.accepted(item(number, float(number)), None)
    start = context.reactor.seconds()
    run(context, 200)
    for link in (inbound, outbound):
        assert len(link.announced) / (context.reactor.seconds() - start) == pytest.approx(14, rel=0.35)
        priorities = [told.priority for told in link.announced]
        assert priorities == sorted(priorities, reverse=True)
    bulk = link_of(context, 3)
    hasty = inventory(context.sibling("relay.other"), bulk, rate=100_000)
    for number in range(3000):
        hasty.accepted(item(number), None)
    run(context, 100)
    assert [len(batch) for batch in bulk.batches] == [1000, 1000, 1000]


def test_nobody_is_told_of_what_it_knows_under_any_of_its_ids(context) -> None:
    giver, knower, by_alias, other = links = [link_of(context, n) for n in range(4)]
    relay = inventory(context, *links)
    one = item(1, aliases=(b"txid",))
    relay.announced(knower, [one.id])
    relay.accepted(one, giver)
    relay.announced(by_alias, [b"txid"])
    run(context, 60)
    assert [len(link.announced) for link in links] == [0, 0, 0, 1]
    relay.accepted(one, None)
    run(context, 60)
    assert [len(link.announced) for link in links] == [0, 0, 0, 1]
    assert other.announced == [one]


def test_urgent_items_are_told_at_once_and_in_order_after_a_link_did_not_read(context) -> None:
    link = link_of(context, 1, topic=BLOCK, urgent=True, inbound=True)
    relay = inventory(context, link)
    blocks = [item(number, topic=BLOCK) for number in range(20)]
    relay.accepted(blocks[0], None)
    assert link.announced == blocks[:1]
    link.writable = False
    for block in blocks[1:]:
        relay.accepted(block, None)
    run(context, 5)
    assert link.announced == blocks[:1]
    link.writable = True
    run(context, 2)
    assert link.announced == blocks
    assert context.reactor.getDelayedCalls() == []


def test_a_link_that_does_not_read_is_held_back_and_its_queue_keeps_the_most_valuable(context) -> None:
    slow, quick = link_of(context, 1, inbound=True), link_of(context, 2, inbound=True)
    relay = inventory(context, slow, quick, queue=10, rate=1000)
    slow.writable = False
    for number in range(100):
        relay.accepted(item(number, float(number) if number % 2 else None), None)
    assert context.metrics.value("relay_dropped_total", TX) == 180
    run(context, 60)
    assert slow.announced == []
    assert len(quick.announced) == 10
    slow.writable = True
    run(context, 60)
    assert [told.priority for told in slow.announced] == [float(n) for n in range(99, 79, -2)]
    assert context.reactor.getDelayedCalls() == []


def test_what_was_withdrawn_is_not_told_and_its_body_not_kept(context) -> None:
    link = link_of(context, 1)
    relay = inventory(context, link, queue=5, recent=1)
    link.writable = False
    for number in range(5):
        relay.accepted(item(number, float(number)), None)
    run(context, 1000)
    relay.withdrawn(TX, [item(n).id for n in (2, 3, 4, 77)])
    relay.accepted(item(6, 0.5), None)
    assert context.metrics.value("relay_dropped_total", TX) == 0, "the withdrawn make room first"
    link.writable = True
    run(context, 1000)
    assert [told.priority for told in link.announced] == [1.0, 0.5, 0.0]


def test_items_are_let_go_once_told(context) -> None:
    link = link_of(context, 1)
    relay = inventory(context, link, serve_after=10)
    gc.disable()
    try:
        for number in range(50):
            relay.accepted(item(number), None)
        run(context, 60)
        relay.accepted(item(99), None)
        assert len(relay._entries) == 1
    finally:
        gc.enable()


def test_only_who_was_told_is_served_until_it_is_old_news(context) -> None:
    told, spy = link_of(context, 1), link_of(context, 2, inbound=True)
    relay = inventory(context, told, spy)
    one = item(1, aliases=(b"txid",))
    relay.announced(spy, [one.id])
    relay.accepted(one, None)
    assert not relay.may_serve(told, one.id)
    assert not relay.may_serve(spy, one.id), "saying that one has it gives no right to ask"
    assert not relay.may_serve(spy, b"txid")
    run(context, 60)
    assert told.announced == [one]
    assert relay.may_serve(told, one.id)
    assert relay.may_serve(told, b"txid")
    stranger = link_of(context, 3)
    relay.link_added(stranger)
    assert not relay.may_serve(stranger, one.id)
    run(context, 61)
    assert relay.may_serve(stranger, one.id)
    assert relay.may_serve(spy, one.id)
    assert relay.may_serve(spy, item(1234).id), "what nobody remembers is old"


def test_what_still_waits_for_its_turn_is_not_served(context) -> None:
    link = link_of(context, 1)
    relay = inventory(context, link, rate=1, per_announcement=1)
    low, high = item(1, 1.0), item(2, 2.0)
    relay.accepted(low, None)
    relay.accepted(high, None)
    while not link.batches:
        run(context, 0.1)
    assert link.announced == [high]
    assert relay.may_serve(link, high.id)
    assert not relay.may_serve(link, low.id)


def test_urgent_topics_are_always_served(context) -> None:
    link = link_of(context, 1, topic=BLOCK, urgent=True)
    relay = inventory(context, link)
    relay.accepted(item(1, topic=BLOCK), None)
    late = link_of(context, 2, topic=BLOCK, urgent=True)
    relay.link_added(late)
    assert relay.may_serve(late, item(1).id)


def test_a_link_that_is_gone_leaves_nothing_behind(context) -> None:
    links = [link_of(context, n, inbound=n % 2 == 0) for n in range(6)]
    relay = inventory(context, *links)
    relay.accepted(item(1), None)
    for link in links:
        relay.link_removed(link)
        relay.link_removed(link)
        relay.announced(link, [item(2).id])
    assert context.reactor.getDelayedCalls() == []
    assert not relay.may_serve(links[0], item(1).id)
    run(context, 60)
    assert all(link.announced == [] for link in links)


def test_a_session_that_ends_while_others_are_told_is_left_out(context) -> None:
    one, two = (link_of(context, n, inbound=True) for n in (1, 2))
    relay = inventory(context, one, two)
    one.told = lambda _: relay.link_removed(two)
    relay.accepted(item(1), None)
    run(context, 60)
    assert two.announced == []
    assert context.reactor.getDelayedCalls() == []


def test_live_values_apply_at_once(context) -> None:
    link = link_of(context, 1)
    relay = inventory(context, link)
    relay.reconfigure(InventoryConfig(outbound_interval=0))
    relay.accepted(item(1), None)
    context.reactor.advance(0)
    assert link.announced == [item(1)]


def test_the_latest_ids_of_a_link_are_remembered_and_the_filter_stays_small(context) -> None:
    link = link_of(context, 1)
    relay = inventory(context, link, known=1000)
    ids = [os.urandom(32) for _ in range(50_000)]
    relay.announced(link, ids)
    known = relay._links[TX][1].known
    keys = relay._keys(ids)
    assert all(known.any_of([key]) for key in keys[-1000:])
    assert sum(known.any_of([key]) for key in keys[:-2000]) <= 2
    assert known._current.size_in_bits / 8 <= 4 * 1000


def test_hostile_links_that_announce_fifty_thousand_ids_each_stay_under_45_mb(context) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    links = [link_of(context, n, inbound=True) for n in range(125)]
    relay = inventory(context, *links)
    gc.collect()
    before = resident()
    for link in links:
        relay.announced(link, [os.urandom(32) for _ in range(50_000)])
    gc.collect()
    assert resident() - before < 45e6
    assert sum(
        (told.known._current.size_in_bits + told.known._previous.size_in_bits) / 8 for told in relay._links[TX].values()
    ) < 30e6


def scenario(seed: int) -> list[tuple[int, float, list[bytes]]]:
    context = FakeContext("relay.inventory", seed=seed)
    links = [link_of(context, n, inbound=n % 3 == 0) for n in range(9)]
    relay = inventory(context, *links)
    for number in range(60):
        relay.accepted(item(number, [None, 1.0, 2.0][number % 3]), links[number % 9])
        run(context, 0.3)
    run(context, 100)
    return [
        (link.id, round(when, 9), [told.id for told in batch])
        for link in links
        for when, batch in zip(link.times, link.batches, strict=True)
    ]


def test_the_same_seed_gives_the_same_announcements_in_every_process() -> None:
    assert scenario(1) == scenario(1)
    assert scenario(1) != scenario(2)
    code = "from tests.relay.test_inventory import scenario; print(scenario(1))"
    answers = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(answers) == 1


@given(
    st.lists(
        st.one_of(
            st.tuples(
                st.just("accept"), st.integers(0, 30), st.one_of(st.none(), st.floats(0, 100)), st.integers(-1, 4)
            ),
            st.tuples(st.just("know"), st.integers(0, 4), st.lists(st.integers(0, 30), max_size=5)),
            st.tuples(st.just("withdraw"), st.integers(0, 30)),
            st.tuples(st.just("writable"), st.integers(0, 4), st.booleans()),
            st.tuples(st.just("run"), st.floats(0, 10)),
        ),
        max_size=40,
    )
)
def test_every_item_reaches_each_link_once_unless_it_knew_it_or_it_was_withdrawn(steps) -> None:
    context = FakeContext("relay.inventory")
    links = [link_of(context, n, inbound=n % 2 == 0) for n in range(5)]
    relay = inventory(context, *links)
    accepted: set[int] = set()
    knew: list[set[int]] = [set() for _ in links]
    withdrawn: set[int] = set()
    for step in steps:
        match step:
            case "accept", number, priority, source if number not in accepted:
                accepted.add(number)
                if source >= 0:
                    knew[source].add(number)
                relay.accepted(item(number, priority), links[source] if source >= 0 else None)
            case "know", at, numbers:
                told = {int.from_bytes(one.id, "big") for one in links[at].announced}
                knew[at] |= set(numbers) - told
                relay.announced(links[at], [item(n).id for n in numbers])
            case "withdraw", number:
                withdrawn.add(number)
                relay.withdrawn(TX, [item(number).id])
            case "writable", at, writable:
                links[at].writable = writable
            case "run", seconds:
                run(context, seconds)
    for link in links:
        link.writable = True
    run(context, 500)
    for link, known in zip(links, knew, strict=True):
        told = [int.from_bytes(one.id, "big") for one in link.announced]
        assert len(set(told)) == len(told)
        assert not set(told) & known
        assert set(told) | known | withdrawn >= accepted
        assert set(told) <= accepted
    assert context.reactor.getDelayedCalls() == []


def test_a_ring_of_policies_spreads_everything() -> None:
    root = FakeContext("relay.inventory")
    network = SmallNetwork(
        [inventory(root.sibling(f"relay.{n}")) for n in range(8)], [(n, (n + 1) % 8) for n in range(8)]
    )
    for number in range(30):
        network.publish(number % 8, item(number, float(number)))
    run(root, 120)
    assert all(len(held) == 30 for held in network.held)
