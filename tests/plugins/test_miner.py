"""The miner: blocks that keep every rule that we know, on a clock, and on regtest only."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer
from zope.interface.verify import verifyClass, verifyObject

from p2pframe.errors import PluginError, StorageFull
from p2pframe.interfaces import IApplication, IReconfigurable
from p2pframe.model import ACCEPTED, Outcome, Validation
from p2pframe.protocols.bitcoin.api import CHAINS, IBitcoin, Template, Tip, parse_block
from p2pframe.protocols.bitcoin.block import check_block, witness_commitment
from p2pframe.protocols.bitcoin.header_index import HeaderIndex
from p2pframe.protocols.bitcoin.transaction import TxInput, TxOutput, build_transaction, coinbase_height
from p2pframe.testing.context import FakeContext
from plugins.miner import EXTRA_NONCE, Miner, MinerConfig, make_block, subsidy

REGTEST = CHAINS["regtest"]


@implementer(IBitcoin)
class Network:
    """A network whose headers are checked by the rules that peers go by."""

    def __init__(self, context, chain=REGTEST):
        self.chain = chain
        self.context = context
        self.index = HeaderIndex(chain)
        self.transactions = []
        self.ahead = None
        self.blocks = []
        self.answers = []

    def tip(self):
        return Tip(self.index.tip, self.index.height)

    def best_header(self):
        return self.ahead or self.tip()

    def template(self):
        return Template(
            self.index.tip, self.index.height + 1, self.chain.pow_limit_bits, self.index.tip_time + 1, self.transactions
        )

    def submit_block(self, raw):
        if self.answers:
            return self.answers.pop(0)
        self.index.add_headers(raw[:80], self.context.unix_time())
        self.blocks.append(parse_block(raw))
        return succeed(ACCEPTED)

    header = block = submit_transaction = on_tip = None


def mining(chain=REGTEST, seed=0, **options):
    context = FakeContext("application.miner", seed=seed)
    network = Network(context, chain)
    context.provide(IBitcoin, network)
    return Miner(MinerConfig(**options), context), network, context


def advance(context, seconds, step=1.0):
    for _ in range(round(seconds / step)):
        context.reactor.advance(step)


def test_it_is_an_application():
    verifyClass(IApplication, Miner)
    miner, _, _ = mining()
    verifyObject(IApplication, miner)
    verifyObject(IReconfigurable, miner)


def test_blocks_come_by_the_clock_and_keep_the_rules():
    miner, network, context = mining(interval="5s")
    miner.start()
    assert not network.blocks
    advance(context, 25)
    assert len(network.blocks) == miner.mined == network.index.height == 5
    for height, block in enumerate(network.blocks, 1):
        check_block(block)
        coinbase = block.transaction(0)
        assert coinbase_height(coinbase) == height
        assert witness_commitment(coinbase) is None
        assert [output.value for output in coinbase.outputs] == [50_0000_0000]
        assert b"p2pframe" in coinbase.spends[0].script
    assert context.metrics.value("miner_blocks_total", "accept") == 5
    miner.stop()
    advance(context, 25)
    assert len(network.blocks) == 5


def test_heights_past_the_small_ones_and_long_messages_still_fit_the_coinbase():
    for height in (1, 16, 17, 128, 40_000, 9_000_000):
        template = Template(bytes(32), height, REGTEST.pow_limit_bits, 1_700_000_000, [])
        block = parse_block(
            make_block(template, REGTEST, template.time, b"\x4b" + b"m" * 75 + b"\x08" + bytes(EXTRA_NONCE))
        )
        check_block(block)
        assert coinbase_height(block.transaction(0)) == height


def test_transactions_with_witnesses_are_committed_to():
    miner, network, context = mining()
    spend = TxInput(b"\x11" * 32, 0, b"", 0xFFFFFFFF, (b"signature",))
    network.transactions = [build_transaction([spend], [TxOutput(1, b"\x51")])]
    miner.start()
    advance(context, 5)
    (block,) = network.blocks
    check_block(block)
    assert len(block) == 2
    assert witness_commitment(block.transaction(0)) is not None


def test_two_miners_on_one_tip_make_two_blocks():
    hashes = set()
    for seed in (1, 2):
        miner, network, context = mining(seed=seed)
        miner.start()
        advance(context, 5)
        hashes.add(network.blocks[0].hash)
    assert len(hashes) == 2


def test_the_time_is_never_before_the_template_allows():
    _, network, _ = mining()
    template = network.template()
    late = 2_000_000_000
    assert parse_block(make_block(template._replace(time=late), REGTEST, late, b"")).header.time == late
    miner, network, context = mining()
    context.unix_epoch = 1_000_000_000.0  # a clock that is behind the chain
    miner.start()
    raw = []
    network.submit_block = lambda block: (raw.append(block), succeed(ACCEPTED))[1]
    advance(context, 5)
    assert parse_block(raw[0]).header.time == network.index.tip_time + 1


def test_it_waits_while_blocks_are_missing():
    miner, network, context = mining()
    network.ahead = Tip(b"\x01" * 32, 9)
    miner.start()
    advance(context, 10)
    assert not network.blocks
    assert context.metrics.value("miner_waited_total", "not-synced") == 2
    network.ahead = None
    advance(context, 5)
    assert len(network.blocks) == 1


def test_a_longer_chain_whose_blocks_never_come_is_waited_for_only_so_long():
    miner, network, context = mining(patience=60.0)
    network.ahead = Tip(b"\x01" * 32, 9)
    miner.start()
    advance(context, 60)
    assert not network.blocks
    advance(context, 10)
    assert network.blocks


def test_the_limit_counts_accepted_blocks_and_may_be_raised():
    miner, network, context = mining(limit=2)
    network.answers = [succeed(Validation(Outcome.REJECT, "bad luck"))]
    miner.start()
    advance(context, 40)
    assert len(network.blocks) == miner.mined == 2
    assert context.metrics.value("miner_blocks_total", "reject") == 1
    miner.reconfigure(MinerConfig(limit=3, interval="1s"))
    advance(context, 12)
    assert len(network.blocks) == 3


def test_one_block_at_a_time():
    miner, network, context = mining(interval="1s")
    slow = Deferred()
    network.answers = [slow]
    miner.start()
    advance(context, 5)
    assert not network.blocks
    slow.callback(ACCEPTED)
    advance(context, 2)
    assert network.blocks


def test_a_failure_is_logged_and_does_not_end_it():
    miner, network, context = mining()
    network.answers = [fail(StorageFull("the disk is full"))]
    errors = []
    context.log.failure = errors.append
    context.log.error = lambda text, **fields: errors.append(text.format(**fields))
    miner.start()
    advance(context, 10)
    assert errors == ["no block was mined: the disk is full"]
    assert context.metrics.value("miner_blocks_total", "failed") == 1
    assert len(network.blocks) == 1


@pytest.mark.parametrize("name", ["mainnet", "testnet4", "signet"])
def test_real_proof_of_work_is_refused(name):
    miner, _, context = mining(CHAINS[name])
    with pytest.raises(PluginError, match=f"on {name}.*chain: regtest"):
        miner.start()
    miner.stop()
    assert not context.reactor.getDelayedCalls()


def test_the_search_for_a_nonce_is_bounded():
    hard = Template(bytes(32), 1, CHAINS["mainnet"].pow_limit_bits, 1_700_000_000, [])
    assert make_block(hard, REGTEST, hard.time, b"") is None


def test_the_subsidy_halves_until_nothing_is_left():
    assert [subsidy(height) for height in (1, 149, 150, 299, 300)] == [
        50_0000_0000, 50_0000_0000, 25_0000_0000, 25_0000_0000, 12_5000_0000,
    ]  # fmt: skip
    assert subsidy(150 * 40) == 0


@pytest.mark.parametrize("options", [{"interval": "0s"}, {"limit": -1}, {"message": "\u00e4" * 38}, {"blocks": 1}])
def test_bad_options(options):
    with pytest.raises(ValidationError):
        MinerConfig(**options)
