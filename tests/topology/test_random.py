"""The random topology: distinct netgroups, anchors, feelers, eviction as in the reference, careful rotation."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from p2pframe.interfaces import IReconfigurable, ITopology
from p2pframe.model import (
    Candidate,
    PeerAddress,
    SessionId,
    SessionSnapshot,
    Slot,
    TopologyView,
    Want,
    netgroup,
)
from p2pframe.testing.context import FakeContext
from p2pframe.topology.random import RandomConfig, RandomTopology, choose_victim, exposed

SALT = b"s" * 32


def snapshot(id, slot=Slot.OUTBOUND, host=None, **fields):
    address = PeerAddress.of(host or f"10.{id % 250}.{id // 250}.1", 8333)
    started = fields.pop("started", 0.0)
    fields = {"state": "open", "opened": started} | fields
    return SessionSnapshot(
        id=SessionId(id), network="net", address=address, netgroup=netgroup(address), slot=slot, transport="tcp",
        started=started, inbound=slot is Slot.INBOUND, **fields,
    )  # fmt: skip


def candidate(host, **fields):
    address = PeerAddress.of(host, 8333)
    return Candidate(address, netgroup(address), **({"tried": True} | fields))


def make(seed=1, **config):
    return RandomTopology(RandomConfig(**config), FakeContext("topology.random", seed=seed))


def view(now, sessions=(), dialling=(), **fields):
    return TopologyView(now, tuple(sessions), tuple(dialling), **fields)


def full(**config):
    """Eight outbound and two block-relay-only sessions."""
    return [snapshot(n) for n in range(1, 9)] + [snapshot(n, Slot.BLOCK_RELAY) for n in (21, 22)]


def slots_of(wants):
    return [want.slot for want in wants]


def test_it_is_a_topology_whose_numbers_are_live():
    topology = make()
    assert verifyObject(ITopology, topology)
    assert verifyObject(IReconfigurable, topology)
    assert topology.slots() == {
        Slot.INBOUND: 114, Slot.OUTBOUND: 8, Slot.BLOCK_RELAY: 2, Slot.FEELER: 1, Slot.MANUAL: 8,
    }  # fmt: skip
    topology.reconfigure(RandomConfig(outbound=3, inbound=5))
    assert topology.slots()[Slot.OUTBOUND] == 3
    assert topology.slots()[Slot.INBOUND] == 5


def test_free_slots_are_wanted_in_netgroups_that_none_has():
    topology = make()
    taken = [snapshot(1), snapshot(2, Slot.MANUAL), snapshot(3, Slot.BLOCK_RELAY)]
    dialling = [(PeerAddress.of("10.77.0.1", 1), Slot.OUTBOUND)]
    first, second = topology.wants(view(0.0, taken, dialling))
    assert (first.slot, second.slot) == (Slot.OUTBOUND, Slot.BLOCK_RELAY)
    assert first.exclude_netgroups == {"v4:10.1", "v4:10.3", "v4:10.77"}
    now = view(0.0, taken, dialling)
    assert not topology.acceptable(first, candidate("10.1.9.9"), now)
    assert not topology.acceptable(first, candidate("10.77.9.9"), now)
    assert topology.acceptable(first, candidate("10.2.9.9"), now)  # a manual peer blocks no netgroup,
    assert not topology.acceptable(first, candidate("10.2.0.1"), now)  # but one session is enough


def test_without_diversity_one_netgroup_may_have_every_slot():
    topology = make(diversity=False)
    now = view(0.0, [snapshot(1)], [(PeerAddress.of("10.77.0.1", 1), Slot.OUTBOUND)])
    first, *_ = topology.wants(now)
    assert first.exclude_netgroups == frozenset()
    assert topology.acceptable(first, candidate("10.1.9.9"), now)
    assert not topology.acceptable(first, candidate("10.1.0.1"), now)  # one session is still enough


def test_dials_under_way_count_and_count_once():
    topology = make(outbound=2, block_relay=0)
    dialling = [(PeerAddress.of("10.1.0.1", 8333), Slot.OUTBOUND), (PeerAddress.of("10.77.0.1", 1), Slot.OUTBOUND)]
    assert topology.wants(view(0.0, (), dialling)) == []
    handshaking = [snapshot(1, state="handshaking")]
    assert topology.wants(view(0.0, handshaking, dialling)) == []
    assert slots_of(topology.wants(view(0.0, handshaking, dialling[:1]))) == [Slot.OUTBOUND]


def test_anchors_come_first_once_and_are_given_up_when_gone():
    topology = make()
    one, two = PeerAddress.of("192.0.2.1", 1), PeerAddress.of("198.51.100.1", 1)
    topology.restore([one, two, one, PeerAddress.of("203.0.113.1", 1)])
    want = topology.wants(view(0.0))[0]
    assert (want.slot, want.addresses) == (Slot.BLOCK_RELAY, (one,))
    assert topology.wants(view(0.5, (), [(one, Slot.BLOCK_RELAY)]))[0].addresses == (two,)
    for step in range(10):
        wants = topology.wants(view(1.0 + step / 2))
    assert all(not want.addresses for want in wants)


def test_anchors_are_the_oldest_block_relay_only_peers():
    sessions = [snapshot(n, Slot.BLOCK_RELAY, started=100.0 - n) for n in range(4)] + [snapshot(9, started=0.0)]
    sessions.append(snapshot(10, Slot.BLOCK_RELAY, started=1.0, state="handshaking"))
    assert make().anchors(view(200.0, sessions)) == [sessions[3].address, sessions[2].address]


def test_feelers_test_new_addresses_about_every_two_minutes():
    topology = make(extra_block_relay_interval=1e9)
    begun, now, want = [], 0.0, None
    while now < 12_000:
        for want in topology.wants(view(now, full())):
            assert (want.slot, want.only_new) == (Slot.FEELER, True)
            # A feeler may go to a netgroup that has a slot: it stays for a moment only.
            assert topology.acceptable(want, candidate("10.1.9.9", tried=False), view(now, full()))
            begun.append(now)
        now += 0.5
    assert 70 < len(begun) < 130
    assert slots_of(make(feeler=0, extra_block_relay_interval=1e9).wants(view(1e6, full()))) == []


def test_an_extra_block_relay_peer_now_and_then_and_only_when_full():
    topology = make(feeler=0)
    topology.wants(view(0.0, full()))
    now = 0.0
    while not (wants := topology.wants(view(now, full()))):
        assert topology.slots()[Slot.BLOCK_RELAY] == 2
        now += 0.5
    assert slots_of(wants) == [Slot.BLOCK_RELAY]
    assert topology.slots()[Slot.BLOCK_RELAY] == 3
    extra = snapshot(30, Slot.BLOCK_RELAY, started=now)
    assert topology.wants(view(now, [*full(), extra])) == []
    assert topology.rotate(view(now + 20, [*full(), extra])) == []
    drops = topology.rotate(view(now + 31, [*full(), extra]))
    assert [(drop.session, drop.reason) for drop in drops] == [(30, "extra-done")]
    assert topology.slots()[Slot.BLOCK_RELAY] == 2


def test_an_extra_peer_that_gave_the_newer_block_stays_in_place_of_the_next_youngest():
    topology = make()
    sessions = [*full(), snapshot(30, Slot.BLOCK_RELAY, started=100.0, last_block=120.0)]
    assert [drop.session for drop in topology.rotate(view(140.0, sessions))] == [22]
    # At most one slot in ten minutes: the next one only looks.
    sessions = [*full(), snapshot(31, Slot.BLOCK_RELAY, started=300.0, last_block=320.0)]
    assert [drop.session for drop in topology.rotate(view(340.0, sessions))] == [31]
    anchor = make()
    anchor.restore([full()[-1].address])
    assert [drop.session for drop in anchor.rotate(view(340.0, sessions))] == [31]


def test_a_stale_tip_opens_one_more_outbound_which_replaces_who_brought_no_blocks():
    topology = make(feeler=0, extra_block_relay_interval=1e9)
    assert topology.wants(view(10.0, full())) == []
    assert slots_of(topology.wants(view(11.0, full(), tip_stale=True))) == [Slot.OUTBOUND]
    assert topology.slots()[Slot.OUTBOUND] == 9
    extra = snapshot(40, started=12.0, last_block=50.0)
    sessions = [*full(), extra]
    assert topology.wants(view(20.0, sessions, tip_stale=True)) == []
    assert topology.rotate(view(41.0, sessions, tip_stale=True)) == []
    [drop] = topology.rotate(view(60.0, sessions, tip_stale=True))
    assert drop.reason == "rotated"
    assert drop.session in range(1, 9)
    assert topology.slots()[Slot.OUTBOUND] == 8
    # Still stale: the next attempt waits ten minutes.
    assert topology.wants(view(70.0, full(), tip_stale=True)) == []
    assert slots_of(topology.wants(view(700.0, full(), tip_stale=True))) == [Slot.OUTBOUND]
    # Nobody could be dialled: the place closes again.
    topology.wants(view(800.0, full(), tip_stale=True))
    assert topology.slots()[Slot.OUTBOUND] == 8


# --- eviction ---


def crowd(seed, count):
    """Inbound sessions of few netgroups, alike in many respects, so that the rules and their ties all matter."""
    rng = Random(seed)
    return [
        snapshot(
            n, Slot.INBOUND, f"10.{rng.randrange(1 + seed % 9)}.{n // 250}.{n % 250}", started=float(rng.randrange(50)),
            best_ping=rng.choice([None, 0.01, 0.1, 1.0]), last_item=rng.choice([0.0, 10.0, 20.0]),
            last_block=rng.choice([0.0, 10.0, 20.0]), relays=rng.random() < 0.7, protected=rng.random() < 0.2,
        )
        for n in range(1, count + 1)
    ]  # fmt: skip


@given(st.integers(0, 10_000), st.integers(0, 160))
def test_the_victim_is_the_youngest_of_the_largest_group_and_never_protected(seed, count):
    sessions = crowd(seed, count)
    victim = choose_victim(sessions, SALT)
    left = exposed(sessions, SALT)
    free = [s for s in sessions if not s.protected]
    assert (victim is None) == (not left)
    if victim is None:
        assert len(free) <= 4 + 8 + 4 + 8 + 4
        return
    assert not victim.protected
    sizes = {}
    for session in left:
        sizes[session.netgroup] = sizes.get(session.netgroup, 0) + 1
    assert sizes[victim.netgroup] == max(sizes.values())
    assert all(victim.started >= s.started for s in left if s.netgroup == victim.netgroup)
    # 4 by netgroup, 8 by ping, 4 by items, up to 8 block-only, 4 by blocks, half of the rest.
    assert (len(free) - 28) // 2 <= len(left) <= (len(free) - 20 + 1) // 2
    assert choose_victim(sessions[::-1], SALT) == victim


def honest(count):
    return [
        snapshot(n, Slot.INBOUND, f"10.{n}.0.1", started=float(n), best_ping=0.5, relays=True)
        for n in range(1, count + 1)
    ]


@given(st.binary(min_size=16, max_size=32), st.integers(1, 60))
def test_each_rule_protects_its_best_whatever_else_is_there(salt, count):
    many = [
        snapshot(1000 + n, Slot.INBOUND, f"11.{n % 3}.0.{n % 250}", started=500.0 + n, best_ping=0.4)
        for n in range(count)
    ]
    near = [snapshot(2000 + n, Slot.INBOUND, f"12.{n}.0.1", started=900.0, best_ping=0.001) for n in range(8)]
    items = [snapshot(3000 + n, Slot.INBOUND, f"13.{n}.0.1", started=900.0, last_item=800.0) for n in range(4)]
    blocks = [snapshot(4000 + n, Slot.INBOUND, f"14.{n}.0.1", started=900.0, last_block=800.0) for n in range(4)]
    only = [
        snapshot(5000 + n, Slot.INBOUND, f"15.{n}.0.1", started=900.0, last_block=700.0, relays=False) for n in range(8)
    ]
    left = {s.id for s in exposed(many + near + items + blocks + only, salt)}
    assert not left & {s.id for s in near + items + blocks + only}


def test_an_attacker_with_one_netgroup_only_evicts_himself():
    topology = make()
    held = honest(60) + [
        snapshot(500 + n, Slot.INBOUND, f"66.6.0.{n + 1}", started=100.0 + n, best_ping=0.5) for n in range(54)
    ]
    for step in range(200):
        newcomer = snapshot(1000 + step, Slot.INBOUND, f"66.6.1.{step % 250}", started=200.0 + step, best_ping=0.5)
        drop = topology.evict(view(300.0 + step, [*held, newcomer]), newcomer)
        assert drop is not None
        assert drop.reason == "evicted"
        assert "66.6" in drop.evidence
        held = [s for s in held if s.id != drop.session] + [newcomer]
        assert sum(s.netgroup != "v4:66.6" for s in held) == 60


def test_networks_that_can_not_win_by_ping_keep_their_share():
    onions = [
        replace(
            snapshot(900 + n, Slot.INBOUND, started=900.0 + n, best_ping=3.0),
            address=PeerAddress.of(f"{n}.onion", 1), netgroup=f"onion:{n}",
        )
        for n in range(5)
    ]  # fmt: skip
    left = {s.id for s in exposed(honest(100) + onions, SALT)}
    assert not left & {s.id for s in onions}


def test_only_open_inbound_peers_that_are_not_the_newcomer_are_evicted():
    topology = make()
    young = snapshot(999, Slot.INBOUND, "10.1.0.9", started=1000.0)
    waiting = [snapshot(700 + n, Slot.INBOUND, f"10.1.0.{n}", started=999.0, state="handshaking") for n in range(50)]
    drop = topology.evict(view(1001.0, [*honest(60), *waiting, *full(), young]), young)
    assert drop.session in range(1, 61)
    assert topology.evict(view(1001.0, [*honest(60), young]), snapshot(1, Slot.OUTBOUND)) is None
    assert topology.evict(view(1001.0, [young]), young) is None


# --- rotation ---


def scored(scores, now=10_000.0, **fields):
    return [snapshot(n, score=score, started=now - 5000, **fields) for n, score in enumerate(scores, start=1)]


def test_the_worst_is_rotated_at_most_once_in_ten_minutes_and_not_drawn_again():
    topology = make()
    sessions = scored([0.1, 0.1, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8])
    [drop] = topology.rotate(view(10_000.0, sessions))
    assert drop.session in (1, 2)  # slots 0 and 1: one of the two is blind, which one is secret
    ended = next(s for s in sessions if s.id == drop.session)
    assert not topology.acceptable(Want(Slot.OUTBOUND), candidate(ended.address.host), view(10_001.0))
    assert topology.acceptable(Want(Slot.OUTBOUND), candidate(ended.address.host), view(14_000.0))
    replaced = [s for s in sessions if s is not ended] + [snapshot(50, score=0.05, started=10_001.0)]
    assert topology.rotate(view(10_300.0, replaced)) == []
    # It took the slot that score counts in, but is judged only once it is old enough.
    assert topology.rotate(view(10_700.0, replaced)) == []
    [drop] = topology.rotate(view(12_000.0, replaced))
    assert drop.session == 50


@pytest.mark.parametrize("seed", range(8))
def test_half_of_the_slots_never_end_for_their_score(seed):
    ended = set()
    for n in range(8):
        topology = make(seed)
        scores = [0.9] * 8
        scores[n] = 0.0
        ended.update(drop.session for drop in topology.rotate(view(10_000.0, scored(scores))))
    assert len(ended) == 4
    assert sorted((id - 1) // 2 for id in ended) == [0, 1, 2, 3]


@pytest.mark.parametrize(("share", "judged"), [(0.0, 8), (0.25, 6), (0.5, 4), (0.75, 2), (1.0, 0)])
def test_the_share_of_blind_slots_is_an_option(share, judged):
    ended = set()
    for n in range(8):
        scores = [0.9] * 8
        scores[n] = 0.0
        ended.update(drop.session for drop in make(score_blind=share).rotate(view(10_000.0, scored(scores))))
    assert len(ended) == judged


def test_without_blind_slots_a_fast_attacker_wins_them_all():
    topology = make(3, score_blind=0)
    sessions = {s.id: s for s in scored([0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.4, 0.4], now=0.0)}
    now, next_id = 10_000.0, 100
    while now < 10_000.0 + 86_400:
        for drop in topology.rotate(view(now, sessions.values())):
            del sessions[drop.session]
            next_id += 1
            sessions[next_id] = snapshot(next_id, score=0.99, started=now)
        now += 10
    assert all(session.score == 0.99 for session in sessions.values())


def test_which_half_is_blind_is_secret():
    halves = set()
    for seed in range(20):
        drops = make(seed).rotate(view(10_000.0, scored([0.1, 0.1, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8])))
        halves.update(drop.session for drop in drops)
    assert halves == {1, 2}


@pytest.mark.parametrize("kept", [{"protected": True}, {"sole_source": True}, {"score": None}, {"slot": Slot.MANUAL}])
def test_protected_sole_source_unscored_and_manual_peers_stay(kept):
    sessions = [replace(s, **kept) if s.id <= 2 else s for s in scored([0.1, 0.1, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8])]
    assert make().rotate(view(10_000.0, sessions)) == []


def test_no_rotation_among_equals_nor_while_a_slot_is_free():
    assert make().rotate(view(10_000.0, scored([0.5, 0.52, 0.55, 0.5, 0.52, 0.51, 0.5, 0.5]))) == []
    assert make().rotate(view(10_000.0, scored([0.0, 0.0, 0.9, 0.9, 0.9]))) == []


def test_a_fast_attacker_wins_no_more_than_half_of_the_slots():
    topology = make(3)
    sessions = {s.id: s for s in scored([0.1, 0.1, 0.2, 0.2, 0.5, 0.5, 0.8, 0.8], now=0.0)}
    now, next_id, rotations = 10_000.0, 100, 0
    while now < 10_000.0 + 7 * 86_400:
        for drop in topology.rotate(view(now, sessions.values())):
            del sessions[drop.session]
            rotations += 1
            next_id += 1
            sessions[next_id] = snapshot(next_id, score=0.99, started=now)
        now += 10
    attackers = sum(session.score == 0.99 for session in sessions.values())
    assert attackers <= 4
    assert rotations >= 3


def test_the_same_seed_makes_the_same_choices():
    def run():
        topology, log, now = make(5), [], 0.0
        while now < 3000:
            for want in topology.wants(view(now, full(), tip_stale=now > 1500)):
                log.append((now, want))
                topology.acceptable(want, candidate("99.1.1.1"), view(now, full()))
            now += 0.5
        return log

    assert run() == run()
