"""Which blocks are wanted of whom, and which chain is followed when they come, or don't."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest

from p2pframe.core.scheduler import Scheduler
from p2pframe.interfaces import TopicRules
from p2pframe.model import SessionId, Slot
from p2pframe.protocols.bitcoin.block_store import TOPIC
from p2pframe.protocols.bitcoin.block_sync import CANDIDATES, FRESH_BYTES, RETRY, BlockSync
from p2pframe.protocols.bitcoin.chains import REGTEST
from p2pframe.protocols.bitcoin.config import BitcoinConfig
from p2pframe.protocols.bitcoin.header_index import HeaderIndex
from p2pframe.protocols.bitcoin.joined_chain import JoinedChain
from p2pframe.testing.context import FakeContext
from tests.bitcoin.chain_makers import chain_of, digest

NOW = 1_700_000_000.0
CHAIN = chain_of(400)


class Store:
    """Holds what it is given, as the block store does."""

    def __init__(self, index):
        self.index, self.held, self.pruned_height = index, set(), 0

    def have(self, id):
        return id in self.held

    @property
    def joined_height(self):
        height = 0
        while height < self.index.height and self.index.hash_at(height + 1) in self.held:
            height += 1
        return height


class Items:
    """The way of a block, without validators: `fate` says what becomes of it."""

    def __init__(self, store):
        self.store, self.sync, self.spreads, self.rejected = store, None, [], set()
        self.scheduler, self.fate = None, "accept"
        self.validating = set()

    def known(self, topic, id):
        return self.store.have(id) or id in self.rejected or id in self.validating

    def delivered(self, session, item, requested=True):
        if self.fate == "forged":
            self.scheduler.failed(TOPIC, item.id, session.id)
            session.close("bad-block")
            return
        self.scheduler.done(TOPIC, item.id)
        if self.fate == "validating":
            self.validating.add(item.id)
        elif self.fate == "accept":
            self.store.held.add(item.id)
            self.sync.accepted(item, session)

    def spread(self, item, source=None):
        self.spreads.append(item.id)


class Session:
    def __init__(self, id, slot):
        self.id, self.slot, self.inbound, self.closing = SessionId(id), slot, slot is Slot.INBOUND, False
        self.reason, self.facts = "", []

    def fact(self, fact):
        self.facts.append(fact.kind)

    def close(self, reason, evidence=""):
        self.closing, self.reason = True, reason


class Rig:
    def __init__(self, headers=CHAIN, **options):
        self.context = FakeContext()
        self.clock = self.context.reactor
        self.config = BitcoinConfig(chain="regtest", **options)
        self.index = HeaderIndex(REGTEST)
        self.store = Store(self.index)
        self.items = Items(self.store)
        rules = TopicRules(urgent=True, scheduled=False, in_flight=16, announcements=10_000, inbound_delay=0.0)
        self.asked: list[tuple[int, bytes]] = []
        self.scheduler = Scheduler(self.clock, {TOPIC: rules}, self._request, lambda *_: None, self.context.metrics)
        self.items.scheduler = self.scheduler
        self.moves = []
        self.sync = self.items.sync = BlockSync(
            lambda: self.config, self.context, self.index, self.store, self.items, self.scheduler,
            lambda lost, gained, at_hand: self.moves.append((list(lost), list(gained))),
        )  # fmt: skip
        self.sync.start()
        self.peers = {}
        self.headers(headers)

    def _request(self, session, topic, ids):
        self.asked += [(session, id) for id in ids]

    def headers(self, headers):
        added = self.index.add_headers(headers, NOW * 10)
        if added.change is not None:
            if added.change.disconnected:
                self.sync.reorganised()
            self.sync.join()
        self.sync.schedule()

    def peer(self, best=CHAIN[-1], slot=Slot.OUTBOUND, limited=False):
        session = Session(len(self.peers) + 1, slot)
        peer = SimpleNamespace(session=session, best_header=b"", serves_blocks=True, limited=limited)
        self.peers[session.id] = peer
        self.sync.opened(peer)
        if best:
            self.show(peer, best)
        return peer

    def show(self, peer, header):
        before, peer.best_header = peer.best_header, digest(header)
        self.sync.showed(peer, before)
        self.turn()

    def leave(self, peer):
        del self.peers[peer.session.id]
        self.scheduler.forget(peer.session.id)
        self.sync.closed(peer)
        self.turn()

    def turn(self):
        self.clock.advance(0.0001)

    def wait(self, seconds):
        for _ in range(int(seconds)):
            self.clock.advance(1.0)
            self.sync.tick(self.clock.seconds())
            self.turn()

    def flying(self, peer):
        return list(self.scheduler.in_flight(peer.session.id, TOPIC))

    def give(self, peer, hash, size=100):
        if self.sync.wanted(hash):
            self.sync.received(peer.session, SimpleNamespace(hash=hash, size=size, raw=b""))
        self.turn()

    def serve(self, *peers, most=10_000):
        """Have peers give what they were asked for until nothing more is asked."""
        given = 0
        while given < most:
            jobs = [(peer, hash) for peer in peers for hash in self.flying(peer)[:1]]
            if not jobs:
                return given
            for peer, hash in jobs:
                self.give(peer, hash)
                given += 1
        return given

    @property
    def tip(self):
        return self.sync.chain.tip


def test_the_window_is_spread_over_all_who_have_it_sixteen_each():
    rig = Rig()
    peers = [rig.peer() for _ in range(4)]
    rig.turn()
    assert [len(rig.flying(peer)) for peer in peers] == [16] * 4
    flying = [hash for peer in peers for hash in rig.flying(peer)]
    assert len(set(flying)) == 64
    # The first peer was alone for a moment; what comes later is spread too.
    rig.serve(*peers)
    assert rig.sync.chain.height == 400
    given = Counter(session for session, _ in rig.asked)
    assert min(given.values()) >= 60
    assert len(rig.asked) == 400


def test_nothing_is_wanted_past_the_window():
    rig = Rig(block_window=32)
    one = rig.peer()
    rig.turn()
    rig.give(one, rig.index.hash_at(2))
    wanted = [rig.index.height_of(hash) for hash in rig.sync._wanted]
    assert max(wanted) == 32
    rig.give(one, rig.index.hash_at(1))
    assert max(rig.index.height_of(hash) for hash in rig.sync._wanted) == 34


def test_who_holds_up_a_full_window_is_dropped_and_the_patience_doubles_and_returns():
    rig = Rig(block_window=16, stall_timeout="2s")
    slow = rig.peer()
    rig.turn()
    assert len(rig.flying(slow)) == 16
    fast = rig.peer()
    rig.wait(4)
    assert slow.session.reason == "stalled"
    assert rig.context.metrics.value("block_stalls_total") == 1
    # All that it had is asked of the other one, though its wire may take long to close.
    assert set(rig.flying(fast)) == {rig.index.hash_at(height) for height in range(1, 17)}
    spare = rig.peer()
    rig.wait(2)
    assert not fast.session.closing
    rig.wait(2)
    assert fast.session.reason == "stalled"
    rig.serve(spare)
    assert rig.sync.chain.height == 400
    assert rig.sync._stall < 0.001


def test_the_only_one_who_has_a_block_is_given_all_the_time_of_a_request():
    rig = Rig(block_window=16, block_timeout="60s")
    slow = rig.peer()
    rig.peer(CHAIN[0])
    rig.give(rig.peer(CHAIN[0]), rig.index.hash_at(1))
    rig.wait(30)
    assert not slow.session.closing
    assert not slow.session.facts


def test_a_manual_peer_that_stalls_is_passed_over_and_stays():
    rig = Rig(block_window=16)
    slow = rig.peer(slot=Slot.MANUAL)
    fast = rig.peer()
    rig.wait(4)
    assert slow.session.facts == ["stalled"]
    assert not slow.session.closing
    assert rig.index.hash_at(1) in rig.flying(fast)


def test_what_nobody_gave_is_wanted_again_later_and_at_once_of_who_is_new():
    rig = Rig(CHAIN[:1])
    liar = rig.peer(CHAIN[0])
    (first,) = rig.flying(liar)
    rig.scheduler.failed(TOPIC, first, liar.session.id)
    rig.wait(int(RETRY) - 2)
    assert not rig.flying(liar)
    rig.wait(4)
    assert rig.flying(liar) == [first]
    rig.scheduler.failed(TOPIC, first, liar.session.id)
    rig.turn()
    assert not rig.flying(liar)
    assert rig.flying(rig.peer(CHAIN[0])) == [first]


def test_a_forged_body_costs_its_sender_the_session_and_another_one_is_asked():
    rig = Rig(CHAIN[:1])
    forger, honest = rig.peer(CHAIN[0]), rig.peer(CHAIN[0])
    (first,) = rig.flying(forger)
    rig.items.fate = "forged"
    rig.give(forger, first)
    rig.items.fate = "accept"
    assert forger.session.closing
    rig.leave(forger)
    assert rig.flying(honest) == [first]
    rig.give(honest, first)
    assert rig.sync.chain.height == 1


def test_one_that_nobody_asked_can_not_have_a_block_forgotten_by_forging_it():
    rig = Rig(CHAIN[:1])
    honest = rig.peer(CHAIN[0])
    stranger = rig.peer(b"")
    rig.items.fate = "forged"
    rig.give(stranger, rig.index.hash_at(1))
    rig.items.fate = "accept"
    assert rig.flying(honest) == [rig.index.hash_at(1)]


def test_what_can_not_be_stored_is_not_fetched_in_a_circle():
    rig = Rig(CHAIN[:20])
    peer = rig.peer(CHAIN[19])
    rig.items.fate = "lost"
    rig.serve(peer)
    asked = len(rig.asked)
    assert asked == 20
    rig.wait(5)
    assert len(rig.asked) == asked
    rig.items.fate = "accept"
    rig.wait(10)
    rig.serve(peer)
    assert rig.sync.chain.height == 20


def test_a_block_that_is_being_judged_is_not_asked_for_again():
    rig = Rig(CHAIN[:1])
    peer = rig.peer(CHAIN[0])
    rig.items.fate = "validating"
    rig.give(peer, rig.index.hash_at(1))
    rig.wait(30)
    assert len(rig.asked) == 1


def test_a_pruned_peer_is_asked_for_its_last_blocks_only():
    rig = Rig()
    pruned = rig.peer(limited=True)
    assert not rig.flying(pruned)
    whole = rig.peer()
    while rig.sync.chain.height < 111:
        rig.give(whole, rig.flying(whole)[0])
    rig.turn()
    assert all(rig.index.height_of(hash) >= 400 - 288 for hash in rig.flying(pruned))
    rig.serve(whole, pruned)
    assert rig.sync.chain.height == 400


def test_a_peer_on_another_branch_is_asked_for_what_is_shared_alone():
    rig = Rig(CHAIN[:20])
    rig.index.add_headers(chain_of(3, previous=digest(CHAIN[9]), time=NOW_OF(CHAIN[9]), seed=b"x"), NOW * 10)
    branch = chain_of(3, previous=digest(CHAIN[9]), time=NOW_OF(CHAIN[9]), seed=b"x")
    other = rig.peer(branch[-1])
    heights = [rig.index.height_of(hash) for hash in rig.flying(other) if rig.index.is_active(hash)]
    assert sorted(heights) == list(range(1, 11))


def NOW_OF(header):
    return int.from_bytes(header[68:72], "little")


def branch_at(height, count, seed):
    previous = CHAIN[height - 1]
    return chain_of(count, previous=digest(previous), time=NOW_OF(previous), seed=seed)


def test_a_reorganisation_during_the_download_drops_what_is_not_needed_any_more():
    rig = Rig(CHAIN[:20])
    peer = rig.peer(CHAIN[19])
    new = branch_at(10, 15, b"new")
    rig.headers(new)
    assert all(rig.index.is_active(hash) for hash in rig.sync._wanted)
    rig.show(peer, new[-1])
    rig.serve(peer)
    assert rig.tip == digest(new[-1])
    assert rig.sync.chain.height == 25


def synced(count=20):
    rig = Rig(CHAIN[:count])
    peer = rig.peer(CHAIN[count - 1])
    rig.serve(peer)
    assert rig.sync.chain.height == count
    rig.moves.clear()
    return rig, peer


def test_headers_whose_bodies_are_kept_back_do_not_take_our_chain_away():
    rig, honest = synced()
    secret = branch_at(15, 30, b"secret")
    rig.headers(secret)
    liar = rig.peer(secret[-1])
    assert rig.tip == digest(CHAIN[19])
    assert not rig.moves
    # New blocks on our chain are followed, though the best header is elsewhere.
    for header in CHAIN[20:23]:
        rig.headers([header])
        rig.show(honest, header)
        rig.serve(honest)
        assert rig.tip == digest(header)
    assert rig.sync.chain.after([digest(CHAIN[18])], b"") == [digest(h) for h in CHAIN[19:23]]
    assert digest(CHAIN[22]) in rig.sync.chain
    assert digest(secret[0]) not in rig.sync.chain
    # When the bodies come after all, it is the better chain.
    rig.serve(liar, honest)
    assert rig.tip == digest(secret[-1])
    changes = [move for move in rig.moves if move[0]]
    assert [lost for lost, _ in changes] == [[digest(h) for h in reversed(CHAIN[15:23])]]
    gained = [hash for _, gained in rig.moves[rig.moves.index(changes[0]) :] for hash in gained]
    assert gained == [digest(h) for h in secret]


def test_blocks_of_our_branch_that_come_out_of_order_are_followed_too():
    rig, honest = synced()
    rig.headers(branch_at(15, 30, b"secret"))
    rig.headers(CHAIN[20:23])
    rig.show(honest, CHAIN[22])
    for hash in reversed(rig.flying(honest)):
        rig.give(honest, hash)
    assert rig.tip == digest(CHAIN[22])
    assert {digest(h) for h in CHAIN[20:23]} <= set(rig.items.spreads)


def test_after_a_restart_our_branch_is_found_again_beside_headers_without_bodies():
    rig, _ = synced()
    rig.headers(branch_at(15, 30, b"secret"))
    again = JoinedChain(rig.index, rig.store)
    again.start()
    assert again.tip == digest(CHAIN[19])


def test_a_long_branch_of_headers_costs_little_to_judge():
    rig, _ = synced(300)
    secret = branch_at(1, 390, b"secret")
    rig.headers(secret)
    assert rig.sync.chain.missing(digest(secret[-1])) is None
    assert rig.tip == digest(CHAIN[299])


def test_an_unrequested_block_is_taken_where_it_makes_our_chain_better_and_else_counted():
    rig, _ = synced()
    stranger = rig.peer(b"")
    sibling = branch_at(19, 1, b"sibling")
    rig.index.add_headers(sibling, NOW * 10)
    rig.give(stranger, digest(sibling[0]))
    assert digest(sibling[0]) not in rig.store.held
    rig.give(stranger, digest(CHAIN[3]))
    invalid = branch_at(20, 1, b"invalid")
    rig.index.add_headers(invalid, NOW * 10)
    rig.index.mark_invalid(digest(invalid[0]))
    rig.give(stranger, digest(invalid[0]))
    count = rig.context.metrics.value
    assert count("blocks_unwanted_total", "little-work") == 1
    assert count("blocks_unwanted_total", "known") == 1
    assert count("blocks_unwanted_total", "invalid") == 1
    rig.index.add_headers(CHAIN[20:21], NOW * 10)
    rig.give(stranger, digest(CHAIN[20]))
    assert rig.sync.chain.height == 21


def test_an_unrequested_block_far_ahead_is_not_taken():
    rig = Rig(block_window=16)
    rig.give(rig.peer(b""), digest(CHAIN[288]))
    assert not rig.store.held
    rig.give(rig.peer(b""), digest(CHAIN[287]))
    assert rig.store.held


def test_a_block_that_comes_after_it_was_given_up_is_not_wasted():
    rig = Rig(block_window=380)
    slow = rig.peer()
    late = rig.index.hash_at(380)
    for _ in range(2):
        rig.clock.advance(61.0)
        for hash in rig.flying(slow):
            rig.scheduler.failed(TOPIC, hash, slow.session.id)
    rig.sync._wanted.pop(late, None)
    rig.give(slow, late)
    assert late in rig.store.held
    rig.give(slow, rig.index.hash_at(381))
    assert rig.index.hash_at(381) not in rig.store.held


def test_an_invalid_block_brings_back_the_chain_before():
    rig, peer = synced()
    rig.headers(branch_at(15, 30, b"bad"))
    rig.index.mark_invalid(digest(branch_at(15, 30, b"bad")[0]))
    rig.sync.reorganised()
    rig.sync.join()
    rig.headers(CHAIN[20:22])
    rig.show(peer, CHAIN[21])
    rig.serve(peer)
    assert rig.sync.chain.height == 22


def test_a_damaged_block_is_fetched_again():
    rig, peer = synced()
    hash = digest(CHAIN[4])
    rig.store.held.discard(hash)
    rig.sync.damaged(hash)
    rig.turn()
    assert rig.flying(peer) == [hash]
    rig.give(peer, hash)
    assert hash in rig.store.held
    assert rig.sync.chain.height == 20


def test_a_block_that_was_pruned_is_not_fetched_again():
    rig, peer = synced()
    rig.store.pruned_height = 10
    rig.store.held.discard(digest(CHAIN[4]))
    rig.sync.damaged(digest(CHAIN[4]))
    rig.turn()
    assert not rig.flying(peer)


def test_a_closing_session_is_asked_for_nothing():
    rig = Rig(CHAIN[:5])
    closing = rig.peer(b"")
    closing.session.closing = True
    rig.show(closing, CHAIN[4])
    assert not rig.flying(closing)


def test_dialled_peers_are_asked_before_inbound_ones():
    rig = Rig(CHAIN[:8])
    for _ in range(20):
        rig.peer(b"", Slot.INBOUND)
    dialled = rig.peer(b"")
    for peer in rig.peers.values():
        peer.best_header = digest(CHAIN[7])
    rig.sync.schedule(again=True)
    rig.turn()
    assert len(rig.flying(dialled)) == 8


def test_the_latest_blocks_at_hand_are_bounded_in_bytes():
    rig = Rig(CHAIN[:8])
    peer = rig.peer(CHAIN[7])
    for height in range(2, 9):
        rig.give(peer, rig.index.hash_at(height), size=4_000_000)
    assert rig.sync._fresh_bytes <= FRESH_BYTES
    assert rig.sync._fresh_bytes == sum(item.size for item, _ in rig.sync._fresh.values())
    rig.give(peer, rig.index.hash_at(1))
    assert rig.sync._fresh_bytes == sum(item.size for item, _ in rig.sync._fresh.values())


@pytest.mark.parametrize("count", [8, 125])
def test_what_a_block_costs_does_not_grow_with_window_times_peers(count, monkeypatch):
    rig = Rig()
    looks = Counter()
    has = BlockSync.has

    def counted(self, peer, hash, height):
        looks["has"] += 1
        return has(self, peer, hash, height)

    for _ in range(count):
        rig.peer(b"", Slot.INBOUND)
    for peer in rig.peers.values():
        peer.best_header = digest(CHAIN[-1])
    monkeypatch.setattr(BlockSync, "has", counted)
    rig.sync.schedule(again=True)
    rig.turn()
    rig.serve(*rig.peers.values())
    assert rig.sync.chain.height == 400
    assert looks["has"] <= 400 * (CANDIDATES + 1)
    looks.clear()
    # A peer that had the whole window already and shows one header more costs that one header.
    rig2 = Rig()
    peers = [rig2.peer() for _ in range(count)]
    more = chain_of(1, previous=digest(CHAIN[-1]), time=NOW_OF(CHAIN[-1]))
    rig2.headers(more)
    looks.clear()
    for peer in peers:
        rig2.show(peer, more[0])
    assert looks["has"] <= count * 2 * (CANDIDATES + 1)


def test_nothing_is_kept_of_a_finished_sync():
    rig, peer = synced(100)
    rig.leave(peer)
    rig.wait(70)
    assert not rig.sync._wanted
    assert not rig.sync._retry
    assert not rig.sync._fresh
    assert not rig.sync._peers
    assert not rig.sync._dialled
    assert not rig.scheduler._topics[TOPIC].items
