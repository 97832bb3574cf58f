"""The attackers of the scenarios do what they say, to real nodes."""

from __future__ import annotations

from p2pframe.model import Slot
from p2pframe.protocols.bitcoin.api import BLOCK, TX
from tests.scenarios.conftest import bitcoin, counted, network


def joined(*hosts):
    return lambda: len({bitcoin(host).tip().hash for host in hosts}) == 1


def test_who_withholds_transactions_and_blocks_announces_them_and_delays_nobody_for_ever(world):
    liar = world.node("198.51.100.1", extra="upgrades: [{plugin: withholder}]")
    honest = world.node("203.0.113.1", peers=["198.51.100.1"])
    first = world.produce(liar, BLOCK)
    world.run(5)
    # Announced and asked for, and never given.
    assert bitcoin(honest).best_header().hash == first and bitcoin(honest).tip().height == 0
    other = world.node("192.0.2.1", peers=["203.0.113.1"])
    world.run(1)
    raw = world.simulation.wait(bitcoin(liar).block(first))
    world.simulation.wait(bitcoin(other).submit_block(raw))
    world.until(joined(honest, liar), 120)
    id = world.produce(liar, TX)
    world.until(lambda: counted(liar, "withheld", "ever") >= 2)
    world.run(5)
    assert not bitcoin(honest).pool.have(id)


def test_a_staller_gives_what_it_has_at_the_last_moment(world):
    slow = world.node("198.51.100.1", extra="upgrades: [{plugin: withholder, kinds: [block], delay: 20s}]")
    honest = world.node("203.0.113.1", peers=["198.51.100.1"], options=", ping_interval: 1s")
    world.produce(slow, BLOCK)
    world.run(19)
    assert bitcoin(honest).tip().height == 0 and bitcoin(honest).best_header().height == 1
    world.until(joined(honest, slow), 5)
    assert counted(slow, "withheld", "a-while") == 1


def test_a_spammer_floods_with_transactions_that_nobody_takes_and_the_honest_go_on(world):
    spammer = world.node("198.51.100.1", extra="relay: {plugin: spammer, transactions: 10}")
    one = world.node("203.0.113.1", peers=["198.51.100.1"])
    other = world.node("192.0.2.1", peers=["203.0.113.1"])
    world.produce(one, BLOCK)
    world.until(joined(one, other))
    world.run(30)
    assert counted(spammer, "spam", "transaction") >= 200
    assert counted(one, "pool_turned_away", "version") >= 200
    assert len(bitcoin(one).pool) == len(bitcoin(other).pool) == 0
    id = world.produce(one, TX)
    world.until(lambda: bitcoin(other).pool.have(id), 30)


def test_a_spammers_valid_transactions_are_taken_and_spread(world):
    spammer = world.node("198.51.100.1", extra="relay: {plugin: spammer, transactions: 2, valid: true}")
    one = world.node("203.0.113.1", peers=["198.51.100.1"])
    other = world.node("192.0.2.1", peers=["203.0.113.1"])
    world.produce(one, BLOCK)
    world.until(joined(one, other, spammer))
    world.until(lambda: len(bitcoin(other).pool) >= 10, 120)


def test_a_liar_is_asked_for_what_it_has_not_got(world):
    liar = world.node("198.51.100.1", extra="relay: {plugin: spammer, transactions: 0, lies: 20}")
    honest = world.node("203.0.113.1", peers=["198.51.100.1"])
    world.produce(honest, BLOCK)
    world.run(20)
    assert counted(honest, "scheduler_requests", "tx") >= 100
    assert counted(liar, "spam", "lie") >= 100
    assert len(bitcoin(honest).pool) == 0
    assert len(network(honest).sessions) == 1


def test_an_eclipser_fills_books_and_inbound_slots_and_looks_honest(world):
    names = world.simulation.network.names
    attackers = [f"198.51.100.{number}" for number in range(1, 41)]
    names["attackers.example"] = tuple(attackers)
    names["victims.example"] = ("203.0.113.1",)
    few = "topology: {plugin: random, diversity: false, outbound: 4, block_relay: 1, inbound: 20}"
    friend = world.node("192.0.2.1")
    victim = world.node("203.0.113.1", peers=["192.0.2.1"], extra=few)
    world.eclipser(*attackers[:25], options=", inbound: 15, told: 30, chatter: 1kB")
    two = world.eclipser(*attackers[25:], options=", inbound: 2, told: 30")
    assert sorted(two.node.applications[0].own) == sorted(attackers[25:])
    tip = world.produce(friend, BLOCK)
    world.run(60)
    sessions = network(victim).sessions.values()
    inbound = [s for s in sessions if s.inbound]
    dialled = [s for s in sessions if s.slot in (Slot.OUTBOUND, Slot.BLOCK_RELAY)]
    assert len(inbound) == 17 and {s.address.host for s in inbound} <= set(attackers)
    assert len(dialled) == 5 and {s.address.host for s in dialled} <= set(attackers)
    assert all(s.state == "open" for s in sessions)
    assert all(address in attackers for address in [one.address.host for one in network(victim).book._all])
    # Whom it has, it keeps: blocks come from an attacker as well as from anyone.
    world.simulation.hosts["192.0.2.1"].kill()
    late = world.node("203.0.113.99", peers=[attackers[0]])
    world.until(lambda: bitcoin(late).tip().hash == tip)
    victim.kill()
    world.run(10)
    world.simulation.wait(victim.restart())
    world.run(30)
    assert sum(s.inbound for s in network(victim).sessions.values()) == 17
    assert not victim.failures
