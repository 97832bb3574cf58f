"""The transaction pool: what it takes, what it turns away and on whose account, and what makes room for what."""

from __future__ import annotations

from array import array
from dataclasses import replace
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zope.interface.verify import verifyClass, verifyObject

from p2pframe.interfaces import IItemStore, IValidator
from p2pframe.model import Floor, Outcome
from p2pframe.protocols.bitcoin.block import Block, assemble_block, build_coinbase, parse_block
from p2pframe.protocols.bitcoin.header import Header
from p2pframe.protocols.bitcoin.pool import CONFIRMED, TX, TransactionPool, not_standard, only_pushes, outpoints
from p2pframe.protocols.bitcoin.transaction import MAX_MONEY, NULL_HASH, TxInput, TxOutput, build_transaction
from p2pframe.protocols.bitcoin.wire import MalformedMessage
from p2pframe.testing.context import FakeContext, result_of

OUT = [TxOutput(1000, b"\x00\x14" + bytes(20))]
_numbers = count(1)


class Options:
    def __init__(self, pool_size=10_000_000, pool_expiry=100.0):
        self.pool_size = pool_size
        self.pool_expiry = pool_expiry


def outpoint(number=None):
    return (next(_numbers) if number is None else number).to_bytes(32, "big"), 0


def tx(*spends, witness=(), outputs=OUT, script=b"", version=2):
    spends = spends or (outpoint(),)
    return build_transaction([TxInput(id, n, script, 0xFFFFFFFF, tuple(witness)) for id, n in spends], outputs, version)


def block(*transactions, height=1):
    coinbase = build_coinbase(height, 0, b"\x51", transactions)
    header = Header(1, bytes(32), bytes(32), 1, 0x207FFFFF, 0)
    return parse_block(assemble_block(header, [coinbase, *transactions]))


class Bench:
    def __init__(self, **options):
        self.context = FakeContext("protocol.bitcoin")
        self.evicted = []
        self.pool = TransactionPool(Options(**options), self.context, self.evicted.extend)

    def give(self, transaction):
        """As core does: item, validate, put. True where it is held then."""
        item = self.pool.item(transaction.raw)
        if self.pool.validate(item).outcome is not Outcome.ACCEPT:
            return False
        return result_of(self.pool.put(item))

    def value(self, name, *labels):
        return self.context.metrics.value(name, *labels)

    def check(self):
        """Every index says the same, and nothing is left behind."""
        pool = self.pool
        held = list(pool)
        assert len(pool) == len(held) == self.value("pool_transactions")
        assert pool.bytes == self.value("pool_bytes")
        assert sorted(pool._by_txid) == sorted(item.body.txid for item in held)
        assert sorted(pool._spent) == sorted(spend for item in held for spend in outpoints(item.body.raw, 0))
        assert (pool.bytes == 0) is (not held)
        assert pool.bytes <= pool.options.pool_size


@pytest.fixture
def bench():
    return Bench()


def test_it_is_a_store_and_a_validator(bench):
    for interface in (IItemStore, IValidator):
        verifyClass(interface, TransactionPool)
        verifyObject(interface, bench.pool)
    assert bench.pool.topics == (TX,)


def test_a_transaction_is_found_by_both_its_ids(bench):
    transaction = tx(witness=(b"signature",))
    assert transaction.txid != transaction.wtxid
    assert not bench.pool.have(transaction.wtxid)
    item = bench.pool.item(transaction.raw)
    assert (item.topic, item.id, item.aliases, item.size) == (
        TX,
        transaction.wtxid,
        (transaction.txid,),
        transaction.size,
    )
    assert bench.give(transaction)
    for id in (transaction.wtxid, transaction.txid):
        assert bench.pool.have(id)
        assert bench.pool.find(id).body == transaction
        assert result_of(bench.pool.get(id)) is bench.pool.find(id)
    assert bench.pool.find(bytes(32)) is None
    assert bench.pool.item(tx().raw).aliases == ()
    assert result_of(bench.pool.put(item))  # held already
    bench.check()


def test_bytes_that_are_no_transaction_raise(bench):
    with pytest.raises(MalformedMessage):
        bench.pool.item(tx().raw[:-1])


def test_a_body_that_is_none_is_refused_by_name(bench):
    item = replace(bench.pool.item(tx().raw), body=b"bytes")
    assert bench.pool.validate(item).outcome is Outcome.IGNORE
    with pytest.raises(TypeError, match="not bytes"):
        bench.pool.put(item)


@pytest.mark.parametrize(
    ("transaction", "reason"),
    [
        (tx(outputs=[TxOutput(-1, b"\x51" * 30)]), "bad-txns-vout-negative"),
        (tx(outputs=[TxOutput(MAX_MONEY, b"\x51" * 30), TxOutput(1, b"")]), "bad-txns-vout-toolarge"),
        (tx(outpoint(7), outpoint(7)), "bad-txns-inputs-duplicate"),
        (tx(outputs=[]), "bad-txns-vout-empty"),
        (tx((NULL_HASH, 0xFFFFFFFF), outpoint()), "bad-txns-prevout-null"),
        (build_coinbase(5, 50, b"\x51"), "coinbase"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_no_honest_peer_sends_is_its_senders_offence(bench, transaction, reason):
    validation = bench.pool.validate(bench.pool.item(transaction.raw))
    assert (validation.outcome, validation.reason) == (Outcome.REJECT, reason)
    assert validation.fact.floor is Floor.END_AND_DISCOURAGE
    assert validation.fact.proven
    assert reason in validation.fact.evidence
    assert bench.value("pool_turned_away_total", reason) == 1


@pytest.mark.parametrize(
    ("transaction", "reason"),
    [
        (tx(version=0), "version"),
        (tx(version=4), "version"),
        (tx(version=-1), "version"),
        (tx(outputs=[TxOutput(1, bytes(100_000))]), "tx-size"),
        (tx(outputs=[TxOutput(1, b"\x51\x51\x51")]), "tx-size-small"),
        (tx(script=b"\x4d\x72\x06" + bytes(0x672)), "scriptsig-size"),
        (tx(script=b"\x76"), "scriptsig-not-pushonly"),
        (tx(script=b"\x05\x00"), "scriptsig-not-pushonly"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_standard_is_turned_away_and_forgiven(bench, transaction, reason):
    validation = bench.pool.validate(bench.pool.item(transaction.raw))
    assert (validation.outcome, validation.reason) == (Outcome.REJECT, reason)
    assert validation.fact.floor is Floor.NOTE
    assert validation.fact.weight == 0


def test_the_least_and_the_largest_standard_ones_are_taken(bench):
    assert tx(outputs=[TxOutput(1, b"\x51\x51\x51\x51\x51")]).stripped_size == 65
    assert bench.give(tx(outputs=[TxOutput(1, b"\x51\x51\x51\x51\x51")]))
    largest = tx(outputs=[TxOutput(1, bytes(99_936))])
    assert largest.weight == 400_000
    assert bench.give(largest)
    for version in (1, 2, 3):
        assert bench.give(tx(version=version))


def test_of_two_that_spend_one_output_the_first_seen_stays(bench):
    spent = outpoint()
    first, second = tx(spent), tx(outpoint(), spent, outputs=[TxOutput(2, bytes(22))])
    assert bench.give(first)
    validation = bench.pool.validate(bench.pool.item(second.raw))
    assert (validation.outcome, validation.reason, validation.fact) == (Outcome.IGNORE, "conflict", None)
    # Another validator may take its time between the two: the store looks again.
    assert not result_of(bench.pool.put(bench.pool.item(second.raw)))
    assert bench.value("pool_turned_away_total", "conflict") == 2
    assert bench.pool.find(first.wtxid) is not None
    bench.check()


def test_a_damaged_witness_neither_takes_the_place_nor_is_remembered_by_txid(bench):
    spent = outpoint()
    good, damaged = tx(spent, witness=(b"signature",)), tx(spent, witness=(b"damage",))
    assert good.txid == damaged.txid
    assert bench.give(good)
    assert bench.pool.validate(bench.pool.item(damaged.raw)).reason == "same-txid"
    assert not bench.pool.have(damaged.wtxid)
    # One that is rejected goes by its wtxid: what core remembers is the item's id.
    too_big = bench.pool.item(tx(witness=(bytes(400_000),)).raw)
    assert bench.pool.validate(too_big).outcome is Outcome.REJECT
    assert not bench.pool.have(too_big.aliases[0])


def test_over_its_size_the_oldest_makes_room():
    bench = Bench(pool_size=10_000)
    given = [tx() for _ in range(30)]
    assert all(bench.give(transaction) for transaction in given)
    kept = len(bench.pool)
    assert 5 < kept < 30
    assert bench.evicted == [transaction.wtxid for transaction in given[:-kept]]
    assert [item.id for item in bench.pool] == [transaction.wtxid for transaction in given[-kept:]]
    assert bench.value("pool_removed_total", "evicted") == 30 - kept
    bench.check()
    assert not bench.give(tx(outputs=[TxOutput(1, bytes(20_000))]))
    assert bench.value("pool_turned_away_total", "larger-than-pool") == 1
    assert len(bench.pool) == kept


def test_what_spends_an_evicted_one_goes_with_it():
    bench = Bench(pool_size=10_000)
    parent = tx()
    child = tx((parent.txid, 0), outpoint())
    assert bench.give(parent)
    assert bench.give(child)
    while parent.wtxid not in bench.evicted:
        assert bench.give(tx())
    assert bench.evicted[:2] == [parent.wtxid, child.wtxid]
    assert bench.value("pool_removed_total", "parent-gone") == 1
    bench.check()


def test_expiry_and_a_lowered_size(bench):
    early = [tx() for _ in range(3)]
    for transaction in early:
        bench.give(transaction)
    bench.context.reactor.advance(60)
    late = [tx() for _ in range(20)]
    for transaction in late:
        bench.give(transaction)
    assert bench.pool.expire(bench.context.reactor.seconds()) == []
    bench.context.reactor.advance(40)
    assert bench.pool.expire(bench.context.reactor.seconds()) == [transaction.wtxid for transaction in early]
    assert bench.value("pool_removed_total", "expired") == 3
    bench.pool.options = Options(pool_size=5000)
    gone = bench.pool.expire(bench.context.reactor.seconds())
    assert gone == [transaction.wtxid for transaction in late[: len(gone)]]
    assert 0 < len(bench.pool) < 20
    bench.check()


def test_a_block_takes_out_what_it_holds_and_what_it_makes_impossible(bench):
    mined, spent = tx(witness=(b"s",)), outpoint()
    rival = tx(spent)
    child = tx((rival.txid, 0))
    kept, follower = tx(), tx((mined.txid, 0))
    for transaction in (mined, rival, child, kept, follower):
        assert bench.give(transaction)
    winner = tx(spent, outputs=[TxOutput(5, bytes(22))])
    found = block(mined, winner)
    removed = bench.pool.mined(found)
    assert removed == [mined.wtxid, rival.wtxid, child.wtxid]
    assert [item.id for item in bench.pool] == [kept.wtxid, follower.wtxid]
    bench.check()
    # Nobody needs to send us again what was mined, under either id.
    for transaction in (mined, winner):
        assert bench.pool.have(transaction.txid)
        assert bench.pool.have(transaction.wtxid)
        assert bench.pool.find(transaction.txid) is None
        assert not bench.give(transaction)
    assert bench.value("pool_turned_away_total", "mined") == 2


def test_a_block_with_another_witness_of_a_held_transaction_takes_it_out(bench):
    spent = outpoint()
    assert bench.give(held := tx(spent, witness=(b"one",)))
    assert bench.pool.mined(block(tx(spent, witness=(b"two",)))) == [held.wtxid]
    bench.check()


def test_a_reorganisation_puts_back_what_is_still_good(bench):
    spent = outpoint()
    back, loser = tx(), tx(spent)
    assert bench.give(back)
    old = block(back, loser)
    bench.pool.mined(old)
    assert not len(bench.pool)
    assert bench.pool.unmined(old) == []
    assert [item.id for item in bench.pool] == [back.wtxid, loser.wtxid]
    assert not bench.pool.have(old.txids[0])  # a coinbase is nothing without its block
    assert bench.pool.mined(block(tx(spent, outputs=[TxOutput(3, bytes(22))]), height=2)) == [loser.wtxid]
    bench.check()


def test_ids_of_mined_ones_are_bounded(bench):
    first = block(tx())
    bench.pool.mined(first)
    ids = [number.to_bytes(32, "little") for number in range(CONFIRMED)]
    bench.pool.mined(Block(first.raw, array("I", [0] * (CONFIRMED + 1)), ids, ids, 0, False))
    assert not bench.pool.have(first.txids[1])
    assert bench.pool.have(ids[-1])
    assert len(bench.pool._confirmed) == CONFIRMED


def test_a_blocks_choice_has_parents_first_and_keeps_the_weight(bench):
    parent = tx()
    child = tx((parent.txid, 0))
    grandchild = tx((child.txid, 0), (parent.txid, 1))
    other = tx()
    for transaction in (grandchild, child, other, parent):
        assert bench.give(transaction)
    assert bench.pool.select(4_000_000) == [parent, child, grandchild, other]
    room = parent.weight + child.weight
    assert bench.pool.select(room) == [parent, child]
    assert bench.pool.select(parent.weight) == [parent]
    assert bench.pool.select(0) == []


def test_a_long_chain_given_backwards_is_chosen_in_time(bench):
    chain = [tx()]
    for _ in range(2000):
        chain.append(tx((chain[-1].txid, 0)))
    for transaction in reversed(chain):
        assert bench.give(transaction)
    assert bench.pool.select(10**9) == chain
    assert bench.pool.expire(1e9) != []
    bench.check()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(0, 5)), max_size=60))
def test_its_indexes_agree_whatever_happens(steps):
    bench = Bench(pool_size=8_000, pool_expiry=10.0)
    known = [tx(outpoint(1_000_000))]
    for first, second, what in steps:
        spends = {known[first % len(known)].txid: 0, known[second % len(known)].txid: 0, bytes([second]) * 32: 0}
        transaction = tx(*list(spends.items())[: 1 + what % 3], witness=(bytes([first]),) if what % 2 else ())
        known.append(transaction)
        if what == 3:
            bench.pool.mined(block(transaction))
        elif what == 4:
            bench.pool.unmined(block(transaction))
        else:
            bench.give(transaction)
        if what == 5:
            bench.context.reactor.advance(4)
            bench.pool.expire(bench.context.reactor.seconds())
        bench.check()
        chosen = bench.pool.select(10**9)
        assert sorted(t.wtxid for t in chosen) == sorted(item.id for item in bench.pool)


@given(st.lists(st.binary(max_size=300), max_size=6))
def test_pushes_of_data_are_only_pushes(parts):
    script = b""
    for part in parts:
        if len(part) < 0x4C:
            script += bytes([len(part)]) + part
        elif len(part) < 256:
            script += b"\x4c" + bytes([len(part)]) + part
        else:
            script += b"\x4d" + len(part).to_bytes(2, "little") + part
    assert only_pushes(script + b"\x51\x4f\x60")
    assert not only_pushes(script + b"\x61")
    assert not only_pushes(script + b"\x4e\x00")
    assert not only_pushes(script + b"\x02\x00")


@given(st.integers(1, 300), st.booleans(), st.binary(max_size=300))
def test_outpoints_are_those_of_the_inputs(number, witness, script):
    transaction = tx(
        *[(n.to_bytes(32, "big"), n) for n in range(number)], witness=(b"w",) if witness else (), script=script
    )
    expected = [spend.txid + spend.vout.to_bytes(4, "little") for spend in transaction.spends]
    assert outpoints(transaction.raw, 0) == expected
    assert outpoints(b"xyz" + transaction.raw, 3) == expected


def test_a_standard_transaction_is_standard():
    assert not_standard(tx()) == ""
