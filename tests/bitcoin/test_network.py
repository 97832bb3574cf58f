"""Bitcoin nodes among themselves: they sync, relay, reorganise, and keep what is bad to themselves."""

from __future__ import annotations

import pytest

from p2pframe.model import Outcome, PeerAddress, Slot
from p2pframe.protocols.bitcoin.api import build_transaction, hash256, parse_block
from p2pframe.protocols.bitcoin.transaction import TxInput, TxOutput
from tests.bitcoin.conftest import height, mine, protocol

ALICE, BOB, CAROL = "192.0.2.1", "198.51.100.1", "203.0.113.1"


def open_sessions(node):
    return [s for s in node.view.sessions() if s.state == "open"]


def transaction(seed: int, inputs: int = 1):
    spends = [TxInput(hash256(b"%d/%d" % (seed, n)), 0, b"", 0xFFFFFFFF, (b"\x01" * 64,)) for n in range(inputs)]
    return build_transaction(spends, [TxOutput(1000, b"\x00\x14" + bytes(20))])


def test_a_chain_longer_than_the_window_reaches_a_node_through_another(bitcoins):
    alice = bitcoins.start(ALICE)
    bitcoins.mine(alice, 300)
    bob = bitcoins.start(BOB, (ALICE,), options=", block_window: 32")
    carol = bitcoins.start(CAROL, (BOB,))
    bitcoins.net.run_until(lambda: height(bob) == height(carol) == 300)
    assert protocol(carol).tip() == protocol(alice).tip()


@pytest.mark.parametrize("relay", ["flood", "inventory"])
def test_a_new_block_passes_from_node_to_node_within_a_second(bitcoins, relay):
    extra = f"    relay: {{plugin: {relay}}}"
    alice = bitcoins.start(ALICE, extra=extra)
    bob = bitcoins.start(BOB, (ALICE,), extra=extra)
    carol = bitcoins.start(CAROL, (BOB,), extra=extra)
    bitcoins.net.run_until(lambda: len(open_sessions(bob)) == 2)
    bitcoins.net.run(1.0)
    bitcoins.mine(alice)
    bitcoins.net.run_until(lambda: height(carol) == 1, limit=1.0)
    bitcoins.mine(carol, 2)
    bitcoins.net.run_until(lambda: height(alice) == 3, limit=1.0)


def test_a_transaction_passes_both_ways_and_leaves_the_pools_when_mined(bitcoins):
    alice = bitcoins.start(ALICE)
    bob = bitcoins.start(BOB, (ALICE,))
    carol = bitcoins.start(CAROL, (BOB,))
    bitcoins.net.run_until(lambda: len(open_sessions(bob)) == 2)
    bitcoins.mine(alice)
    bitcoins.net.run_until(lambda: height(carol) == 1)
    first, second = transaction(1), transaction(2)
    assert bitcoins.wait(protocol(alice).submit_transaction(first.raw)).outcome is Outcome.ACCEPT
    assert bitcoins.wait(protocol(carol).submit_transaction(second.raw)).outcome is Outcome.ACCEPT
    bitcoins.net.run_until(lambda: len(protocol(alice).pool) == len(protocol(carol).pool) == 2, limit=60.0)
    bitcoins.mine(bob, transactions=[first])
    bitcoins.net.run_until(lambda: len(protocol(alice).pool) == len(protocol(carol).pool) == 1)


def test_a_reorganisation_of_three_blocks_passes_through(bitcoins):
    alice = bitcoins.start(ALICE)
    carol = bitcoins.start(CAROL)
    bitcoins.mine(alice, 2)
    bitcoins.mine(alice, 3, tag=b"\x00old")
    bob = bitcoins.start(BOB, (ALICE,))
    bitcoins.net.run_until(lambda: height(bob) == 5)
    # Carol has another branch from height 2, four blocks long, that nobody else knows.
    for n in (1, 2):
        raw = bitcoins.wait(protocol(alice).block(protocol(alice).index.hash_at(n)))
        bitcoins.wait(protocol(carol).submit_block(raw))
    bitcoins.mine(carol, 4, tag=b"\x00new")
    lines = []
    log = protocol(bob).progress._context.log
    log.info = lambda text, **fields: lines.append(text.format(**fields))
    bitcoins.wait(carol.control.connect("bitcoin", PeerAddress(BOB, 18444)))
    bitcoins.net.run_until(lambda: height(alice) == 6, limit=10.0)
    assert protocol(alice).tip() == protocol(carol).tip()
    assert protocol(bob).tip() == protocol(carol).tip()
    assert "reorganisation: 3 blocks off, 4 on, from height 2" in lines


@pytest.mark.parametrize("fault", ["merkle", "witness"])
def test_a_forged_body_is_its_senders_offence_and_the_true_block_still_passes(bitcoins, fault):
    alice = bitcoins.start(ALICE)
    bob = bitcoins.start(BOB, (ALICE,))
    bitcoins.net.run_until(lambda: open_sessions(bob))
    good = transaction(3)
    raw = mine(protocol(alice).template(), transactions=[good])
    block = parse_block(raw)
    if fault == "merkle":
        forged = raw[: block.offsets[1]] + transaction(4).raw
    else:
        spend = good.inputs[0]
        changed = build_transaction([spend._replace(witness=(b"\x02" * 64,))], good.outputs)
        assert changed.txid == good.txid
        forged = raw[: block.offsets[1]] + changed.raw
    # Alice's session with Bob is made to say it: the node itself would not.
    session = next(iter(alice.networks["bitcoin"].sessions.values()))
    conversation = session._conversation
    conversation.say("block", forged)
    bitcoins.net.run_until(lambda: not alice.networks["bitcoin"].sessions)
    assert height(bob) == 0
    closed = [e for e in bob.view.events() if e.kind == "peer.judged"]
    assert closed[-1].fields["reason"] == "bad-block"
    assert bitcoins.wait(protocol(alice).submit_block(raw)).outcome is Outcome.ACCEPT
    bitcoins.net.run_until(lambda: height(bob) == 1, limit=150.0)


def test_what_was_synced_is_there_after_a_restart_without_any_peer(bitcoins):
    alice = bitcoins.start(ALICE, storage="sqlite")
    hashes = bitcoins.mine(alice, 20)
    bitcoins.wait(alice.stop())
    bitcoins.nodes.remove(alice)
    again = bitcoins.start(ALICE, storage="sqlite")
    assert protocol(again).tip() == (hashes[-1], 20)
    assert bitcoins.wait(protocol(again).block(hashes[4])) is not None


def test_on_mainnet_nothing_unvalidated_is_offered_unless_the_config_says_so(bitcoins):
    alice = bitcoins.start(ALICE)
    assert protocol(alice).services == 1 | 8 | 1024
    path = bitcoins.folder / f"{ALICE}.yaml"
    text = path.read_text().replace("regtest", "mainnet").replace(f"data-{ALICE}", "other").replace("18444", "8333")
    path.write_text(text)
    main = bitcoins.start_file(BOB, path)
    assert protocol(main).services == 0
    assert not protocol(main).relays_transactions


def test_nodes_learn_of_each_other_by_gossip_and_dial_into_outbound_slots(bitcoins):
    addresses = [f"198.51.{n}.1" for n in range(100, 105)]
    nodes = []
    for n, address in enumerate(addresses):
        peers = (addresses[0],) if n else ()
        nodes.append(bitcoins.start(address, peers, options=f", external: ['{address}:18444']"))
    bitcoins.net.run_until(
        lambda: all(any(s.slot is Slot.OUTBOUND for s in open_sessions(node)) for node in nodes[1:]),
        limit=600.0,
    )


def test_what_a_reorganisation_unmines_is_in_the_pool_again_and_what_it_mines_is_not(bitcoins):
    alice = bitcoins.start(ALICE)
    carol = bitcoins.start(CAROL)
    (base,) = bitcoins.mine(alice)
    raw = bitcoins.wait(protocol(alice).block(base))
    bitcoins.wait(protocol(carol).submit_block(raw))
    lost, taken = transaction(5), transaction(6)
    bitcoins.wait(protocol(alice).submit_transaction(lost.raw))
    bitcoins.wait(protocol(alice).submit_transaction(taken.raw))
    bitcoins.mine(alice, transactions=[lost])
    assert {item.id for item in protocol(alice).pool} == {taken.wtxid}
    bitcoins.mine(carol, 1, tag=b"\x00c", transactions=[taken])
    bitcoins.mine(carol, 2, tag=b"\x00c")
    bitcoins.wait(carol.control.connect("bitcoin", PeerAddress(ALICE, 18444)))
    bitcoins.net.run_until(lambda: height(alice) == 4)
    bitcoins.net.run(0.1)
    assert {item.id for item in protocol(alice).pool} == {lost.wtxid}
