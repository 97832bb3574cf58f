"""The plugin as a whole: its start from what is stored, its stop, its options, and what it says of itself."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from pydantic import ValidationError
from twisted.internet.defer import Deferred, fail, succeed

from p2pframe.errors import StorageError
from p2pframe.interfaces import IAddressBook, IItems, IScheduler
from p2pframe.model import Outcome, PeerAddress
from p2pframe.plugin import is_live
from p2pframe.protocols.bitcoin.api import build_transaction, hash256, parse_block
from p2pframe.protocols.bitcoin.block_store import BlockStore
from p2pframe.protocols.bitcoin.config import BitcoinConfig
from p2pframe.protocols.bitcoin.inventory import MSG_WITNESS_BLOCK, encode_entries
from p2pframe.protocols.bitcoin.pool_follower import MOST, PoolFollower
from p2pframe.protocols.bitcoin.protocol import BitcoinProtocol
from p2pframe.testing.context import FakeContext, result_of
from tests.bitcoin.chain_makers import chain_of, digest
from tests.bitcoin.conftest import height, mine, protocol
from tests.bitcoin.test_serving import Server, spend

HEADERS = chain_of(50)
STORED = b"".join(HEADERS)


class Services:
    """Items, address book and scheduler of a node that has nobody to talk to."""

    def subscribe(self, topic, callback):
        return lambda: None

    def on_exhausted(self, topic, callback):
        pass

    def withdraw(self, topic, ids):
        pass

    def known(self, topic, id):
        return False


def plugin(storage=None, **options):
    context = FakeContext("protocol.bitcoin", storage=storage)
    for interface in (IItems, IAddressBook, IScheduler):
        context.provide(interface, Services())
    return BitcoinProtocol(BitcoinConfig(**{"chain": "regtest", **options}), context)


def started(storage=None, **options):
    made = plugin(storage, **options)
    result_of(made.startService())
    return made


# --- start and stop ---


def filled(raw=STORED):
    """A storage with that in the blob of headers."""
    storage = plugin().context.storage
    storage.blob("headers").append(raw)
    return storage


def test_stored_headers_are_there_again():
    again = started(filled())
    assert again.index.height == 50
    assert again.best_header().hash == digest(HEADERS[-1])
    result_of(again.stopService())


@pytest.mark.parametrize("torn", [1, 40, 79])
def test_a_torn_end_is_cut_off_and_the_next_header_stands_where_it_belongs(torn):
    storage = filled(b"".join(HEADERS)[:-torn])
    first = started(storage)
    assert first.index.height == 49
    assert storage.blob("headers").size == 49 * 80
    first.header_sync.take(HEADERS[-1], ours=True)
    result_of(first.stopService())
    assert started(storage).index.height == 50


def test_damage_in_the_middle_is_set_aside_and_what_came_before_is_kept():
    raw = bytearray(b"".join(HEADERS))
    raw[20 * 80 + 40] ^= 0xFF
    storage = filled(bytes(raw))
    first = started(storage)
    assert first.index.height == 20
    assert storage.blob("headers").size == 20 * 80
    assert result_of(storage.blob("headers-aside").read(0, 10_000)) == bytes(raw[20 * 80 :])
    first.header_sync.take(HEADERS[20], ours=True)
    result_of(first.stopService())
    assert started(storage).index.height == 21


def test_a_block_once_found_invalid_is_so_after_a_restart():
    storage = filled()
    first = started(storage)
    first._block_invalid(digest(HEADERS[30]), "for the test")
    assert first.index.height == 30
    result_of(first.stopService())
    again = started(storage)
    assert again.index.height == 30
    assert again.index.is_invalid(digest(HEADERS[40]))


def test_a_start_that_fails_says_so_and_can_be_stopped(monkeypatch):
    made = plugin()
    monkeypatch.setattr(BlockStore, "start", lambda self: fail(StorageError("no such luck")))
    with pytest.raises(StorageError, match="no such luck"):
        result_of(made.startService())
    result_of(made.stopService())
    assert not made.context.reactor.getDelayedCalls()


def test_a_stop_during_the_start_leaves_no_timer(monkeypatch):
    made = plugin()
    slow = Deferred()
    monkeypatch.setattr(BlockStore, "start", lambda self: slow)
    starting = made.startService()
    result_of(made.stopService())
    slow.callback(None)
    result_of(starting)
    assert not made.context.reactor.getDelayedCalls()


def test_a_stopped_plugin_has_no_timer_and_may_stop_twice():
    made = started()
    assert made.context.reactor.getDelayedCalls()
    result_of(made.stopService())
    result_of(made.stopService())
    assert not made.context.reactor.getDelayedCalls()


# --- options ---


def test_an_agent_is_measured_in_bytes():
    with pytest.raises(ValidationError, match="bytes"):
        BitcoinConfig(agent="ü" * 200)
    assert BitcoinConfig(agent="ü" * 128).agent


def test_live_options_are_those_that_a_running_node_takes_up():
    made = started(headers=10_000)
    told = []

    class Peer:
        def tell_fee_filter(self):
            told.append(made.config.fee_filter)

    made._conversations[Peer()] = None
    new = BitcoinConfig(
        chain="regtest",
        headers=20_000,
        fee_filter=500,
        pool_size="2MB",
        prune="1GB",
        stale_tip="10s",
        getdata_queue=200,
    )
    made.reconfigure(new)
    assert made.index.limit == 20_000
    assert told == [500]
    assert made.pool.options is made.blocks.options is made.gossip.options is new
    made.context.reactor.advance(11.0)
    assert made.stale()
    made.reconfigure(new)
    assert told == [500]
    fixed = {name for name in BitcoinConfig.model_fields if not is_live(BitcoinConfig, name)}
    assert fixed == {"chain", "agent", "relay_transactions", "serve_unvalidated"}


def test_who_relays_no_transactions_says_so_and_who_serves_none_neither():
    assert started().relays_transactions
    assert not started(relay_transactions=False).relays_transactions
    assert not started(chain="mainnet").relays_transactions
    assert started(chain="mainnet", serve_unvalidated=True).relays_transactions
    assert started(serve_unvalidated=False).services == 0
    assert started(prune="1GB").services == 8 | 1024


# --- how far we are ---


def test_a_chain_without_a_new_block_for_long_is_stale_and_a_block_ends_that(bitcoins):
    server = Server(bitcoins, options=", stale_tip: 60s")
    assert not server.protocol.stale()
    server.net.run(61.0)
    assert server.protocol.stale()
    server.mine()
    assert not server.protocol.stale()


def test_a_public_chain_with_an_old_tip_is_still_syncing():
    made = started(chain="testnet4")
    made.index.chain = made.chain
    assert made.syncing
    assert not started().syncing


def test_once_caught_up_headers_alone_make_nobody_start_again():
    made = started()
    made.block_sync.chain.tip = made.index.hash_at(0)
    made.header_sync.take(HEADERS[0], ours=True)
    made.block_sync.chain.tip = digest(HEADERS[0])
    assert not made.syncing
    for header in HEADERS[1:]:
        made.header_sync.take(header, ours=True)
    assert not made.syncing
    # One that starts with as much ahead of it is.
    fresh = started()
    for header in HEADERS:
        fresh.header_sync.take(header, ours=True)
    assert fresh.syncing


# --- blocks that nobody asked for, and transactions ---


def test_blocks_of_little_work_do_not_fill_the_disk(bitcoins):
    server = Server(bitcoins)
    template = server.protocol.template()
    server.mine(160)
    held = len(server.protocol.index)
    peer = server.peer()
    for n in range(5):
        peer.say("block", mine(template, b"low%d" % n)).wait(0.05)
    assert len(server.protocol.index) == held
    assert len(server.protocol.blocks) == 160
    assert server.count("messages_dropped", "too-little-work") == 5
    assert not peer.lost
    # Nor do siblings of the tip's parent: the header is worth keeping, the body isn't.
    sibling_of = server.protocol.template()
    server.mine(1)
    for n in range(5):
        peer.say("block", mine(sibling_of, b"sib%d" % n)).wait(0.05)
    assert len(server.protocol.blocks) == 161
    assert server.count("blocks_unwanted", "little-work") == 5


def test_an_invalid_block_ends_its_sender_and_its_chain_and_the_good_one_goes_on(bitcoins):
    server = Server(bitcoins)
    server.mine(3)
    peer = server.peer()
    template = server.protocol.template()
    wrong = mine(template._replace(height=99))
    peer.say("block", wrong).wait(0.5)
    assert peer.lost
    assert server.protocol.index.is_invalid(hash256(wrong[:80]))
    assert server.protocol.tip().height == server.protocol.index.height == 3
    server.mine(2)
    assert height(server.node) == 5


def test_what_follows_an_invalid_block_is_not_stored(bitcoins):
    server = Server(bitcoins)
    template = server.protocol.template()
    wrong = mine(template._replace(height=99))
    block = parse_block(mine(template._replace(previous=hash256(wrong[:80]), height=2, time=template.time + 1)))
    server.protocol.header_sync.take(wrong[:80], ours=True)
    server.protocol.header_sync.take(block.header_bytes, ours=True)
    server.protocol._block_invalid(hash256(wrong[:80]), "for the test")
    assert server.bitcoins.wait(server.protocol.block_sync.submit(block)).outcome is Outcome.IGNORE
    assert not len(server.protocol.blocks)


def test_bytes_that_are_no_block_and_a_block_of_nowhere_are_refused(bitcoins):
    server = Server(bitcoins)
    assert bitcoins.wait(server.protocol.submit_block(b"\x00" * 50)).outcome is Outcome.REJECT
    nowhere = mine(server.protocol.template()._replace(previous=hash256(b"nowhere")))
    assert bitcoins.wait(server.protocol.submit_block(nowhere)).outcome is Outcome.IGNORE


def test_whoever_asks_to_hear_of_the_tip_may_raise_and_may_stop_asking(bitcoins):
    server = Server(bitcoins)
    heard = []
    end = server.protocol.on_tip(heard.append)
    (first,) = server.mine()
    assert heard == [(first, 1)]
    end()
    end()
    server.mine()
    assert len(heard) == 1


def test_agents_are_kept_once_and_not_without_bound():
    made = started()
    for n in range(2000):
        assert made.interned(f"/a{n}/") == f"/a{n}/"
    assert len(made._agents) == 1000
    assert made.interned("".join(["/a", "1/"])) is made.interned("".join(["/a", "1/"]))


# --- the pool behind a slow disk ---


def test_what_the_pool_has_to_read_is_bounded_and_goes_on_after_a_failure():
    context = FakeContext()
    answers = []

    class Slow:
        def get(self, id):
            answers.append(Deferred())
            return answers[-1]

    followed = []
    pool = SimpleNamespace(mined=lambda block: followed.append(block.hash) or [], unmined=lambda block: [])
    follower = PoolFollower(context, Slow(), pool, lambda ids: None)
    for n in range(20):
        follower.changed([], [n.to_bytes(4, "big") * 8] * MOST, lambda hash: None)
    assert len(follower._waiting) <= 2 * MOST
    assert context.metrics.value("pool_unread_blocks_total") >= 18 * MOST
    lost = context.metrics.value("pool_unread_blocks_total")
    answers.pop().errback(StorageError("unreadable"))
    follower.changed([], [bytes(32)], lambda hash: None)
    while answers:
        answers.pop().callback(None)
    assert not follower._waiting
    assert context.metrics.value("pool_unread_blocks_total") > lost


def test_a_node_forgets_no_transaction_for_a_branch_it_never_took(bitcoins):
    server = Server(bitcoins)
    server.mine()
    tx = spend(9)
    bitcoins.wait(server.protocol.submit_transaction(tx.raw))
    template = server.protocol.template()
    stale = mine(template, b"stale", [build_transaction(tx.inputs, tx.outputs)])
    server.mine(1)
    bitcoins.wait(server.protocol.submit_block(stale))
    assert len(server.protocol.pool) == 1


def test_a_pruned_node_says_so_and_goes_on_where_it_was(bitcoins, tmp_path):
    server = Server(bitcoins, storage="sqlite", options=", prune: 60kB, block_file: 20kB")
    server.mine(420)
    bitcoins.net.run(1.0)
    assert server.protocol.blocks.pruned_height > 1
    assert server.protocol.services == 8 | 1024
    hashes = [server.protocol.index.hash_at(n) for n in range(421)]
    assert bitcoins.wait(server.protocol.block(hashes[1])) is None
    held = next(n for n in range(1, 421) if server.protocol.blocks.have(hashes[n]))
    assert held < 130
    peer = server.peer()
    for n in (held, 129, 130, 420):
        peer.say("getdata", encode_entries([(MSG_WITNESS_BLOCK, hashes[n])]))
    peer.wait(1.0)
    assert [hash256(raw[:80]) for raw in peer.heard("block")] == [hashes[130], hashes[420]]
    bitcoins.wait(server.node.stop())
    bitcoins.nodes.remove(server.node)
    again = bitcoins.start_file("192.0.2.1", bitcoins.folder / "192.0.2.1.yaml")
    assert height(again) == 420
    assert not protocol(again).block_sync._wanted
    # Whoever needs only the last blocks gets them from it.
    other = bitcoins.start("198.51.100.1")
    bitcoins.wait(other.control.connect("bitcoin", PeerAddress("192.0.2.1", 18444)))
    bitcoins.net.run(2.0)
    assert protocol(other).index.height == 420
    assert height(other) == 0


def test_the_answer_of_a_block_that_is_not_held_is_none():
    made = started()
    made.blocks.get = lambda id: succeed(None)
    assert result_of(made.block(bytes(32))) is None
