"""The alerts of a Bitcoin network: for each the chain that raises it, and one next to it that does not."""

from __future__ import annotations

from dataclasses import replace
from math import exp

import pytest
from twisted.internet.task import Clock

from p2pframe.interfaces import IAlerts
from p2pframe.protocols.bitcoin.alerts import ARRIVALS, HEADERS_STILL, STILL, YEAR, ChainWatch, longest_gap
from p2pframe.protocols.bitcoin.chains import MAINNET, REGTEST
from p2pframe.protocols.bitcoin.header_index import HeaderIndex
from p2pframe.testing.context import FakeContext
from tests.bitcoin.chain_makers import chain_of, digest, easy
from tests.bitcoin.conftest import mine, protocol

LATER = 4_000_000_000
TRUNK = chain_of(40)
LIKE_MAINNET = easy(MAINNET, bip34_height=0, bip66_height=0, bip65_height=0)


class World:
    """The headers of a chain, and how far its blocks are joined."""

    def __init__(self, chain=REGTEST, headers=TRUNK):
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.index = HeaderIndex(chain)
        if headers:
            self.index.add_headers(headers, LATER)
        self.joined = self.index.tip
        context = FakeContext("protocol.bitcoin", network="net", reactor=self.clock)
        self.watch = ChainWatch(context, self.index, lambda: self.joined)
        self.watch.start()

    def add(self, headers):
        if self.index.add_headers(headers, LATER).change is not None:
            self.watch.news()

    def run(self, seconds, step=1.0):
        for _ in range(int(seconds / step)):
            self.clock.advance(step)
            self.watch.tick(self.clock.seconds())

    @property
    def names(self):
        return [one.name for one in self.watch.alerts()]


def test_before_the_chain_is_loaded_there_is_nothing_to_say():
    context = FakeContext("protocol.bitcoin", network="net", reactor=Clock())
    assert ChainWatch(context, HeaderIndex(MAINNET), lambda: b"").alerts() == []


def test_the_bound_is_a_gap_that_comes_once_a_year():
    bound = longest_gap(600.0)
    assert 6500 < bound < 6540
    assert YEAR / 600 * exp(-bound / 600) == pytest.approx(1.0)
    slow = 660.0
    assert YEAR / slow * exp(-bound / slow) < 12 / 4.9, "a tenth slower: once in five months"


def test_no_new_block_for_longer_than_chance_explains_is_a_partition_suspicion():
    world = World(LIKE_MAINNET, chain_of(5, chain=LIKE_MAINNET))
    bound = longest_gap(600.0)
    world.run(bound - 10.0)
    assert world.names == []
    world.run(20.0)
    (alert,) = world.watch.alerts()
    assert (alert.name, alert.critical, alert.network) == ("partition", False, "net")
    assert "for 109 minutes, where one is expected every 10" in alert.text
    time = world.index.tip_time
    world.add(chain_of(1, world.index.tip, time, LIKE_MAINNET, b"next"))
    world.joined = world.index.tip
    assert world.names == []


def test_a_header_of_no_better_chain_is_no_news():
    world = World(LIKE_MAINNET, chain_of(5, chain=LIKE_MAINNET))
    world.run(longest_gap(600.0) + 10.0, 10.0)
    world.add(chain_of(1, chain=LIKE_MAINNET, seed=b"old"))
    assert world.names == ["partition"]


def test_a_chain_without_a_pace_has_none_to_expect():
    world = World()
    world.run(86_400.0, 60.0)
    assert world.names == []


def test_a_sync_that_joins_no_block_for_ten_minutes_stands_still():
    world = World(headers=TRUNK[:20])
    world.run(3600.0, 10.0)
    world.add(TRUNK[20:])
    world.run(STILL - 5.0)
    assert world.names == [], "it was no block behind for an hour, and that does not count"
    world.joined = digest(TRUNK[20])
    world.run(STILL - 5.0)
    assert world.names == [], "it goes on, if slowly"
    world.run(10.0)
    (alert,) = world.watch.alerts()
    assert (alert.name, alert.critical) == ("stalled-sync", False)
    assert alert.text == "net: the sync stands at block 21 of 40 for 10 minutes."
    world.joined = world.index.tip
    world.run(1.0)
    assert world.names == []


def test_another_tip_of_as_much_work_is_not_behind():
    world = World()
    world.add(chain_of(1, digest(TRUNK[38]), LATER - 10_000, seed=b"other"))
    world.joined = world.index.hash_of(len(world.index) - 1)
    assert world.joined != world.index.tip
    world.run(2 * STILL)
    assert world.names == []


def test_headers_that_do_not_come_are_a_sync_that_stands_still_too():
    chain = replace(LIKE_MAINNET, minimum_chain_work=1000)
    world = World(chain, [])
    world.run(HEADERS_STILL - 5.0)
    assert world.names == []
    world.run(10.0)
    (alert,) = world.watch.alerts()
    assert alert.name == "stalled-sync"
    assert alert.text.startswith("net: the sync stands at header 0: no new one for 30 minutes")


def branch(world, at, count, seed=b"branch"):
    """`count` headers after the trunk's block `at`; the hash of the last."""
    headers = chain_of(count, digest(TRUNK[at - 1]), world.index.time_of(digest(TRUNK[at - 1])), seed=seed)
    world.add(headers)
    return digest(headers[-1])


@pytest.mark.parametrize(
    ("at", "count", "how"),
    [(38, 2, "as much work as ours"), (37, 2, "1 block less of work"), (30, 8, "2 blocks less of work")],
)
def test_a_branch_of_nearly_as_much_work_competes(at, count, how):
    world = World()
    branch(world, 20, 3, b"old")
    end = branch(world, at, count)
    (alert,) = world.watch.alerts()
    assert (alert.name, alert.critical, alert.network) == ("competing-branches", False, "net")
    assert f"a branch of {count} blocks up to height {at + count}, {end[::-1].hex()}, has {how}" in alert.text


@pytest.mark.parametrize(("at", "count"), [(39, 1), (36, 1), (30, 7), (10, 3)])
def test_a_race_of_two_miners_and_a_branch_that_is_left_behind_do_not(at, count):
    world = World()
    branch(world, at, count)
    assert world.names == []


def test_the_branch_that_was_ours_competes_until_it_is_left_behind():
    world = World()
    end = branch(world, 37, 4)
    assert world.index.tip == end
    (alert,) = world.watch.alerts()
    assert "a branch of 3 blocks up to height 40" in alert.text and "1 block less" in alert.text
    world.add(chain_of(2, end, world.index.time_of(end), seed=b"more"))
    assert world.names == []


def test_an_invalid_branch_is_told_of_where_it_has_more_work():
    world = World()
    branch(world, 37, 5)
    world.index.mark_invalid(world.index.hash_at(39))
    assert world.index.tip == digest(TRUNK[-1])
    (alert,) = world.watch.alerts()
    assert "a branch of 5 blocks up to height 42" in alert.text
    assert "more work than ours, and is invalid by our rules" in alert.text
    world.add(chain_of(2, world.index.tip, world.index.tip_time, seed=b"more"))
    assert world.names == [], "as much work is not enough for it"


def test_of_a_branch_longer_than_what_is_looked_through_so_much_is_said():
    world = World()
    end = branch(world, 1, 39)
    more = chain_of(ARRIVALS, end, world.index.time_of(end), seed=b"long")
    trunk = chain_of(ARRIVALS, digest(TRUNK[-1]), world.index.time_of(digest(TRUNK[-1])), seed=b"trunk")
    world.add(trunk)
    assert world.names == []
    world.add(more)
    (alert,) = world.watch.alerts()
    assert f"a branch of at least {ARRIVALS} blocks up to height {40 + ARRIVALS}" in alert.text


def test_two_branches_of_a_whole_node_are_told_of_by_its_protocol(bitcoins):
    node = bitcoins.start("203.0.113.1")
    bitcoin = protocol(node)
    assert IAlerts.providedBy(bitcoin)
    genesis = bitcoin.template()
    bitcoins.mine(node, 2)
    assert list(bitcoin.alerts()) == []
    other = mine(genesis, b"\x00b")
    above = genesis._replace(previous=digest(other[:80]), height=2, time=genesis.time + 1)
    bitcoin.header_sync.take(other[:80])
    bitcoin.header_sync.take(mine(above, b"\x00b")[:80])
    (alert,) = bitcoin.alerts()
    assert alert.name == "competing-branches" and "as much work as ours" in alert.text
    (shown,) = [one for label, one in node.view.providers(IAlerts)]
    assert shown is bitcoin


def test_a_whole_node_notices_that_the_blocks_of_the_headers_that_it_has_do_not_come(bitcoins):
    node = bitcoins.start("203.0.113.1")
    bitcoin = protocol(node)
    bitcoins.net.run(60.0)
    bitcoin.header_sync.take(mine(bitcoin.template())[:80])
    bitcoins.net.run(STILL - 5.0)
    assert list(bitcoin.alerts()) == []
    bitcoins.net.run(10.0)
    assert [one.text for one in bitcoin.alerts()] == ["bitcoin: the sync stands at block 0 of 1 for 10 minutes."]
