"""bcoin nodes that know only a p2pframe node: what one has, the other gets through ours.

The sync and relay story runs under each relay policy, scorer, storage engine and transport, by changing the YAML alone.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pframe.protocols.bitcoin.api import hash_from_hex, hash_hex, parse_block
from tests.interop.configs import PLUGINS, QUICK, node
from tests.interop.conftest import MakeBcoin, MakeNode
from tests.interop.made_chain import headers_of, make_block, spend, with_another_body, with_another_witness
from tests.interop.processes import Bcoin, P2PNode, free_port, wait_until
from tests.interop.wire_peer import WirePeer

pytestmark = [pytest.mark.interop]

SYNC = 120
SEGWIT = 440
"""bcoin votes it in on its regtest chain, at block 432."""
EXAMPLE_PLUGINS = Path(__file__).parents[2] / "plugins"
HOSTILE = "127.0.0.66"


def wait_for_blocks(ours: P2PNode, best: str, limit: float = 60.0) -> None:
    """Until our node serves the block of that hash (as people write it)."""
    wanted = hash_from_hex(best)
    with WirePeer.dial(ours.port, "127.0.0.9") as peer:
        peer.handshake()
        wait_until(f"ours serves {best}", lambda: peer.block(wanted) is not None, limit, ours.tail)


def spend_block(a: Bcoin, height: int) -> tuple[str, str]:
    """A raw transaction spending the coinbase of the block at `height`, and its txid."""
    block = parse_block(bytes.fromhex(a.rpc("getblock", a.rpc("getblockhash", height), False)))
    transaction = spend(block)
    return transaction.raw.hex(), hash_hex(transaction.txid)


def sync_through(ours: P2PNode, bcoin: MakeBcoin, ends: tuple[P2PNode, P2PNode], restart: bool) -> tuple[Bcoin, Bcoin]:
    """A mines and stops, our node restarts, B syncs from our store alone; A comes back.

    Both bcoins, at the same tip.
    """
    at_a, at_b = ends
    a = bcoin("a", [at_a.address]).start()
    best = a.mine(SYNC)[-1]
    wait_for_blocks(at_b, best)
    a.stop()
    if restart:
        for each in dict.fromkeys(ends):
            each.stop()
        for each in dict.fromkeys(ends):
            each.start()
    b = bcoin("b", [at_b.address]).start()
    b.wait_for_block(best, 60, at_b)
    assert b.height() == SYNC
    (peer,) = b.rpc("getpeerinfo")
    assert "p2pframe" in peer["subver"], peer
    # Its chain was in memory: what it has now, it has from us too.
    a.start()
    a.wait_for_block(best, 60, at_a)
    return a, b


def relay_through(ours: P2PNode, a: Bcoin, b: Bcoin) -> None:
    """A block and a transaction made at either end arrive at the other."""
    b.wait_for_block(a.mine(1)[0], 20, ours)
    a.wait_for_block(b.mine(1)[0], 20, ours)
    raw, txid = spend_block(a, 1)
    assert a.rpc("sendrawtransaction", raw) == txid
    b.wait_for_transaction(txid, 60, ours)
    raw, txid = spend_block(a, 2)
    assert b.rpc("sendrawtransaction", raw) == txid
    a.wait_for_transaction(txid, 60, ours)
    # A block that takes them in.
    a.wait_for_block(b.mine(1)[0], 20, ours)
    assert a.rpc("getrawmempool") == []


@pytest.mark.parametrize("plugins", PLUGINS)
def test_sync_from_our_store_and_relay_both_ways(plugins: str, p2pnode: MakeNode, bcoin: MakeBcoin) -> None:
    ours = p2pnode(node(PLUGINS[plugins])).start()
    a, b = sync_through(ours, bcoin, (ours, ours), restart=True)
    relay_through(ours, a, b)
    ours.stop()


def test_the_same_in_memory_without_the_restart(p2pnode: MakeNode, bcoin: MakeBcoin) -> None:
    """The memory engine keeps nothing over a restart, as it says: the rest of the story holds."""
    ours = p2pnode(node(QUICK, storage="memory")).start()
    a, b = sync_through(ours, bcoin, (ours, ours), restart=False)
    relay_through(ours, a, b)
    ours.stop()


def test_the_same_with_plugins_from_a_folder(p2pnode: MakeNode, bcoin: MakeBcoin) -> None:
    """Relay policy, scorer, topology and storage are the worked examples of plugins/, named in the YAML alone."""
    swapped = {"relay": {"plugin": "lazy-flood"}, "scoring": [{"plugin": "latency"}], "topology": {"plugin": "near"}}
    ours = p2pnode(node(swapped, storage="journal", plugin_path=[str(EXAMPLE_PLUGINS)])).start()
    a, b = sync_through(ours, bcoin, (ours, ours), restart=True)
    relay_through(ours, a, b)
    ours.stop()


def test_the_same_with_tls_between_two_of_ours(p2pnode: MakeNode, bcoin: MakeBcoin) -> None:
    """A - ours - TLS - ours - B."""
    first = p2pnode(node(QUICK), "first")
    inner = free_port()
    transports = [
        {"plugin": "tcp", "listen": ["127.0.0.1:{port}"]},
        {"plugin": "tls", "listen": [f"127.0.0.1:{inner}"]},
    ]
    first.rewrite(node(QUICK | {"transports": transports}))
    second = p2pnode(
        node(
            QUICK
            | {
                "transports": [{"plugin": "tls"}, {"plugin": "tcp", "listen": ["127.0.0.1:{port}"]}],
                "discovery": [{"plugin": "static", "peers": [f"127.0.0.1:{inner}"]}],
            }
        ),
        "second",
    )
    first.start()
    second.start()
    second.wait_for(f"127.0.0.1:{inner} /p2pframe")
    a, b = sync_through(second, bcoin, (first, second), restart=True)
    relay_through(second, a, b)
    first.stop()
    second.stop()


def test_a_transaction_with_witnesses_arrives_with_them(p2pnode: MakeNode, bcoin: MakeBcoin) -> None:
    ours = p2pnode(node(QUICK)).start()
    a = bcoin("a", [ours.address]).start()
    b = bcoin("b", [ours.address]).start()
    a.mine(1, a.witness_address)
    b.wait_for_block(a.mine(SEGWIT)[-1], 60, ours)
    raw, txid = spend_block(a, 1)
    assert a.rpc("sendrawtransaction", raw) == txid
    b.wait_for_transaction(txid, 30, ours)
    assert b.rpc("getrawtransaction", txid) == raw
    a.wait_for_block(b.mine(1)[0], 20, ours)
    ours.stop()


def test_a_reorganisation_of_three_blocks_passes_through(p2pnode: MakeNode, bcoin: MakeBcoin) -> None:
    ours = p2pnode(node(QUICK)).start()
    a = bcoin("a", [ours.address]).start()
    b = bcoin("b", [ours.address]).start()
    # C stands apart, with the chain up to the fork.
    c = bcoin("c").start()
    shared = a.mine(20)
    for hash in shared:
        c.rpc("submitblock", a.rpc("getblock", hash, False))
    assert c.best() == shared[-1]
    old = a.mine(3)[-1]
    b.wait_for_block(old, 30, ours)
    new = c.mine(4, "RTZQ6zg5dSjvnTJWmzKvmbX8SgEuTH6FyD")[-1]
    c.rpc("addnode", ours.address, "onetry")
    a.wait_for_block(new, 30, ours, c)
    b.wait_for_block(new, 30, ours, c)
    assert a.height() == b.height() == 24
    # And back, with the fork two blocks deeper than either tip.
    tip = b.mine(1)[0]
    a.wait_for_block(tip, 30, ours)
    c.wait_for_block(tip, 30, ours)
    ours.stop()


@pytest.mark.parametrize("fault", ["merkle root", "witness commitment"])
@pytest.mark.parametrize("way", ["asked for", "pushed"])
def test_a_forged_body_never_arrives_and_the_true_block_does(
    fault: str, way: str, p2pnode: MakeNode, bcoin: MakeBcoin
) -> None:
    ours = p2pnode(node(QUICK)).start()
    a = bcoin("a", [ours.address]).start()
    b = bcoin("b", [ours.address]).start()
    # bcoin takes witnesses, and commitments to them, once they were voted in.
    height = SEGWIT if fault == "witness commitment" else 5
    before = a.mine(height)[-1]
    b.wait_for_block(before, 30, ours)
    wait_for_blocks(ours, before)

    with WirePeer.dial(ours.port, HOSTILE) as hostile, WirePeer.dial(ours.port, "127.0.0.9") as watcher:
        watcher.handshake()
        hostile.handshake(height=height + 1)
        tip = hostile.all_headers()[-1]
        time = int.from_bytes(tip[68:72], "little") + 1
        true = make_block(tip, height + 1, time, commit=height >= SEGWIT)
        if fault == "merkle root":
            other = make_block(tip, height + 1, time, extra=b"evil")
            forged = with_another_body(true, [other.transaction(0)])
        else:
            forged = with_another_witness(true)
        if way == "asked for":
            hostile.show([true.header_bytes])
            hostile.asked_for_block(true.hash)
        hostile.send("block", forged)
        assert hostile.hung_up(), f"who sends a forged body is dropped\n{ours.tail()}"
        # The block is still wanted, and nobody has been told of it.
        assert watcher.block(true.hash) is None
        assert b.best() == a.best() == before

        with WirePeer.dial(ours.port, "127.0.0.10") as honest:
            honest.handshake(height=height + 1)
            honest.show(headers_of([true]))
            honest.asked_for_block(true.hash)
            honest.send("block", true.raw)
            b.wait_for_block(hash_hex(true.hash), 20, ours)
            a.wait_for_block(hash_hex(true.hash), 20, ours)
            assert watcher.block(true.hash) == true.raw
    ours.stop()
