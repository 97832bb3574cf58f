"""Whom headers are asked of, and when somebody else's turn is."""

from __future__ import annotations

import pytest

from p2pframe.errors import StorageFull
from p2pframe.model import Slot
from p2pframe.protocols.bitcoin.chains import MAINNET, REGTEST
from p2pframe.protocols.bitcoin.config import BitcoinConfig
from p2pframe.protocols.bitcoin.header_index import HeaderIndex, TooLittleWork
from p2pframe.protocols.bitcoin.header_sync import HeaderSync
from p2pframe.testing.context import FakeContext
from tests.bitcoin.chain_makers import chain_of, digest, mine, vector

GENESIS_TIME = int.from_bytes(REGTEST.genesis_header[68:72], "little")


class FakeSession:
    def __init__(self, slot):
        self.slot, self.inbound, self.closing = slot, slot is Slot.INBOUND, False
        self.facts, self.reason = [], ""

    def fact(self, fact):
        self.facts.append(fact)
        if fact.floor.name != "NOTE":
            self.close(fact.kind)

    def close(self, reason, evidence=""):
        self.closing, self.reason = True, reason


class FakePeer:
    """As much of a conversation as the sync of headers uses."""

    def __init__(self, context, slot=Slot.OUTBOUND, serves=True):
        self.context, self.session, self.serves_blocks = context, FakeSession(slot), serves
        self.headers_asked, self.unconnected, self.intake = 0.0, 0, None
        self.best_header = self.last_unknown = b""
        self.asked = []

    def ask_headers(self, locator, follow_up=False):
        if self.headers_asked and not follow_up:
            return
        self.headers_asked = self.context.reactor.seconds() or 1e-9
        self.asked.append(list(locator))


class Blob:
    def __init__(self):
        self.data = b""

    def append(self, data):
        self.data += data


class Net:
    def __init__(self, chain=REGTEST, **options):
        self.context = FakeContext()
        self.config = BitcoinConfig(**options)
        self.index = HeaderIndex(chain)
        self.added = []
        added = self.added
        self.sync = HeaderSync(lambda: self.config, self.context, self.index, lambda peer, what: added.append(what))
        self.blob = Blob()
        self.sync.start(self.blob)

    def peer(self, slot=Slot.OUTBOUND, serves=True):
        made = FakePeer(self.context, slot, serves)
        self.sync.opened(made)
        return made

    def wait(self, seconds):
        for _ in range(int(seconds)):
            self.context.reactor.advance(1.0)
            self.sync.tick(self.context.reactor.seconds())

    def now(self, before=600):
        """A chain's time from which its tip is of the last day."""
        return int(self.context.unix_time()) - before


def old(count, seed=b"", **more):
    """Headers of years ago."""
    return chain_of(count, seed=seed, **more)


def test_one_peer_is_asked_and_the_next_one_when_it_has_no_more():
    net = Net()
    first, second, third = net.peer(), net.peer(), net.peer()
    assert [len(p.asked) for p in (first, second, third)] == [1, 0, 0]
    net.sync.received(first, old(10))
    assert [len(p.asked) for p in (first, second, third)] == [1, 1, 0]
    # The second is behind: the third still gets its turn.
    net.sync.received(second, [])
    assert [len(p.asked) for p in (first, second, third)] == [1, 1, 1]
    net.sync.received(third, [])
    net.wait(300)
    assert [len(p.asked) for p in (first, second, third)] == [1, 1, 1]
    assert not any(p.session.facts for p in (first, second, third))


def test_a_dialled_peers_turn_comes_before_that_of_an_inbound_one():
    net = Net()
    busy, inbound, dialled = net.peer(), net.peer(Slot.INBOUND), net.peer()
    net.sync.received(busy, [])
    assert (len(inbound.asked), len(dialled.asked)) == (0, 1)


def test_with_a_tip_of_the_last_day_everyone_is_asked_at_once():
    net = Net()
    first, second = net.peer(), net.peer()
    net.sync.received(first, chain_of(3, time=net.now(3600)))
    third = net.peer(Slot.INBOUND)
    assert len(second.asked) == len(third.asked) == 1
    assert net.sync.peer is None


def test_full_messages_are_followed_up_until_one_is_not_full():
    net = Net()
    peer, other = net.peer(), net.peer()
    headers = old(2003)
    net.sync.received(peer, headers[:2000])
    assert len(peer.asked) == 2
    assert peer.asked[1][0] == digest(headers[1999])
    assert not other.asked
    net.sync.received(peer, headers[2000:])
    assert net.index.height == 2003
    assert len(other.asked) == 1
    assert len(net.blob.data) == 2003 * 80


def test_a_silent_peer_is_closed_and_followed_by_the_next():
    net = Net()
    silent, next_one = net.peer(), net.peer()
    net.wait(62)
    assert silent.session.reason == "headers-timeout"
    assert len(next_one.asked) == 1


def test_a_manual_peer_that_is_silent_stays_and_gets_another_turn():
    net = Net()
    manual, other = net.peer(Slot.MANUAL), net.peer()
    net.wait(62)
    assert not manual.session.closing
    assert len(other.asked) == 1
    net.sync.received(other, [])
    net.wait(2)
    assert len(manual.asked) == 2


def test_a_peer_that_leaves_is_followed_by_the_next():
    net = Net()
    first, second = net.peer(), net.peer()
    net.sync.closed(first)
    assert len(second.asked) == 1


@pytest.mark.parametrize("fault", ["not-continuous", "from-the-future", "bad-work"])
def test_whoever_sends_what_is_no_use_loses_its_turn_at_once(fault):
    net = Net()
    first, second = net.peer(), net.peer()
    good = old(3)
    if fault == "not-continuous":
        headers = [good[0], good[2]]
    elif fault == "bad-work":
        headers = [good[0], good[1][:72] + bytes.fromhex("ffff001d") + good[1][76:]]
    else:
        headers = [mine(REGTEST.genesis_hash, net.now(-86_400), REGTEST.pow_limit_bits)]
    net.sync.received(first, headers)
    assert first.session.closing is (fault != "from-the-future")
    assert len(second.asked) == 1
    assert net.index.height == 0


def test_a_turn_ends_only_for_the_sake_of_another_one():
    net = Net(headers_turn="10s", headers_timeout="10000s")
    slow = net.peer()
    net.wait(2000)
    assert not slow.session.closing
    waiting = net.peer()
    net.wait(1)
    assert slow.session.reason == "headers-timeout"
    assert len(waiting.asked) == 1


def test_an_announcement_during_a_request_neither_ends_the_turn_nor_asks_twice():
    net = Net()
    peer, other = net.peer(), net.peer()
    headers = old(2010)
    net.sync.received(peer, headers[:2000])
    far = chain_of(2, previous=digest(b"unknown"), time=GENESIS_TIME + 10_000_000)
    for _ in range(3):
        net.sync.received(peer, far[:1])
    assert len(peer.asked) == 2
    assert not other.asked
    net.sync.received(peer, headers[2000:])
    assert net.index.height == 2010
    assert len(other.asked) == 1


def test_headers_that_do_not_connect_are_asked_for_but_not_for_ever():
    net = Net(unconnected=3)
    peer = net.peer()
    net.sync.received(peer, [])
    for n in range(6):
        net.sync.received(peer, chain_of(1, previous=digest(b"%d" % n), time=GENESIS_TIME))
        peer.headers_asked = 0.0
    assert len(peer.asked) == 1 + 3
    assert not peer.session.closing
    assert net.context.metrics.value("headers_dropped_total", "unconnected-too-often") == 3


def test_a_peer_that_serves_no_blocks_is_not_asked():
    net = Net()
    light, full = net.peer(serves=False), net.peer()
    net.wait(120)
    assert not light.asked
    assert not light.session.facts
    assert full.asked


def test_during_a_long_sync_each_new_block_gets_one_more_peer_asked():
    net = Net()
    slow, *others = (net.peer() for _ in range(5))
    for other in others:
        net.sync.heard_of(other, digest(b"block"))
    assert sum(len(other.asked) for other in others) == 1
    net.sync.heard_of(others[3], digest(b"another"))
    assert sum(len(other.asked) for other in others) == 2
    assert len(slow.asked) == 1


def test_a_block_that_was_heard_of_counts_as_the_peers_once_its_header_is_here():
    net = Net()
    peer, other = net.peer(), net.peer()
    headers = old(5)
    net.sync.received(peer, [])
    net.sync.received(other, [])
    net.sync.heard_of(peer, digest(headers[4]))
    net.sync.received(peer, headers)
    assert peer.best_header == digest(headers[4])
    assert not other.best_header
    net.sync.received(other, headers[:2])
    assert other.best_header == digest(headers[1])


def test_a_peers_best_header_that_turned_out_invalid_gives_way_to_less_work():
    net = Net()
    peer = net.peer()
    bad, good = old(5, b"bad"), old(3, b"good")
    net.sync.received(peer, bad)
    net.index.mark_invalid(digest(bad[1]))
    net.sync.received(peer, good)
    assert peer.best_header == digest(good[2])


def test_a_mainnet_node_stores_nothing_of_a_chain_of_little_work():
    raw = vector("mainnet_alt_headers.bin")
    headers = [raw[at : at + 80] for at in range(0, len(raw), 80)]
    net = Net(MAINNET)
    liar, honest = net.peer(), net.peer()
    net.sync.received(liar, headers[:2000])
    assert len(liar.asked) == 2
    net.sync.received(liar, headers[2000:])
    assert len(net.index) == 1
    assert not net.blob.data
    assert not liar.session.closing
    assert net.context.metrics.value("headers_dropped_total", "too-little-work") == 1
    # Its time is over, and nothing of it is kept.
    assert liar.intake.presync is None
    assert len(honest.asked) == 1


def test_nobody_keeps_its_turn_by_breaking_presync_off_again_and_again():
    raw = vector("mainnet_alt_headers.bin")
    headers = [raw[at : at + 80] for at in range(0, len(raw), 80)]
    net = Net(MAINNET, unconnected=2)
    liar, honest = net.peer(), net.peer()
    for _ in range(4):
        net.sync.received(liar, headers[:2000])
        net.sync.received(liar, headers[2010:2011])
    net.wait(2)
    assert net.sync.peer is honest
    assert len(honest.asked) == 1


def test_an_announcement_that_breaks_presync_off_starts_it_again():
    raw = vector("mainnet_alt_headers.bin")
    headers = [raw[at : at + 80] for at in range(0, len(raw), 80)]
    net = Net(MAINNET)
    peer = net.peer()
    net.sync.received(peer, headers[:2000])
    net.sync.received(peer, headers[2010:2011])
    assert len(peer.asked) == 3
    assert peer.asked[2] == [MAINNET.genesis_hash]
    # The answer to the request before comes too late, and does no harm.
    net.sync.received(peer, headers[2000:])
    assert len(peer.asked) == 3
    assert not peer.session.closing


def test_the_header_of_somebody_elses_block_needs_work_and_ours_does_not():
    net = Net()
    peer = net.peer()
    net.sync.received(peer, old(300))
    (low,) = old(1, b"low")
    with pytest.raises(TooLittleWork):
        net.sync.take(low)
    assert digest(low) not in net.index
    assert net.sync.take(low, ours=True)
    assert not net.sync.take(mine(digest(b"nowhere"), GENESIS_TIME, REGTEST.pow_limit_bits))


def test_a_full_disk_loses_no_headers_from_memory():
    net = Net()
    peer = net.peer()

    def full(data):
        raise StorageFull("no room")

    net.blob.append = full
    net.sync.received(peer, old(5))
    assert net.index.height == 5
