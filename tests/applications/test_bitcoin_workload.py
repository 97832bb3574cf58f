"""The workload of Bitcoin: items that whole nodes take, spread and mine, like no others, and the same for one seed."""

from __future__ import annotations

import pytest
from twisted.internet.defer import succeed
from zope.interface import implementer
from zope.interface.verify import verifyClass, verifyObject

from p2pframe.applications.bitcoin_workload import (
    LARGEST,
    LARGEST_TRANSACTION,
    LEAST_TRANSACTION,
    BitcoinWorkload,
    BitcoinWorkloadConfig,
    make_block,
    make_transaction,
)
from p2pframe.errors import P2PFrameError, PluginError
from p2pframe.interfaces import IApplication, IWorkload
from p2pframe.model import Outcome, Validation
from p2pframe.protocols.bitcoin.api import BLOCK, CHAINS, TX, IBitcoin, Template, parse_block
from p2pframe.protocols.bitcoin.block import check_block, witness_commitment
from p2pframe.protocols.bitcoin.pool import not_standard
from p2pframe.protocols.bitcoin.transaction import check_transaction
from p2pframe.testing.context import FakeContext
from tests.bitcoin.conftest import bitcoins, height, protocol  # noqa: F401 - bitcoins is a fixture
from tests.work import Work

REGTEST = CHAINS["regtest"]
WORKS = "applications: [{plugin: bitcoin-workload, network: bitcoin}]"
TEMPLATE = Template(bytes(32), 7, REGTEST.pow_limit_bits, 1_700_000_000, [])


@implementer(IBitcoin)
class Asked:
    """A network that notes what is handed in, and answers what the test says."""

    def __init__(self, chain=REGTEST):
        self.chain = chain
        self.got = []
        self.outcome = Validation(Outcome.ACCEPT)

    def template(self):
        return TEMPLATE._replace(transactions=[make_transaction(FakeContext("pool").rng.randbytes, 300)])

    def submit_block(self, raw):
        self.got.append(raw)
        return succeed(self.outcome)

    submit_transaction = submit_block
    tip = best_header = header = block = on_tip = None


def works(seed=0, chain=REGTEST, confirm=True):
    context = FakeContext("application.bitcoin-workload", seed=seed)
    network = Asked(chain)
    context.provide(IBitcoin, network)
    return BitcoinWorkload(BitcoinWorkloadConfig(confirm=confirm), context), network, context


def result(deferred):
    results = []
    deferred.addBoth(results.append)
    return results[0]


def test_it_is_an_application_and_a_workload():
    made, _, _ = works()
    for seam in (IApplication, IWorkload):
        verifyClass(seam, BitcoinWorkload)
        verifyObject(seam, made)


def test_blocks_and_transactions_of_one_node_reach_another(bitcoins):  # noqa: F811
    one = bitcoins.start("10.0.0.1", extra=WORKS)
    other = bitcoins.start("10.9.0.1", peers=["10.0.0.1"])
    (workload,) = one.applications
    hashes = [bitcoins.wait(workload.produce(BLOCK, 2_000)) for _ in range(3)]
    bitcoins.net.run_until(lambda: height(other) == 3)
    assert protocol(other).tip().hash == hashes[-1]
    ids = [bitcoins.wait(workload.produce(TX, 400)) for _ in range(5)]
    bitcoins.net.run_until(lambda: all(protocol(other).pool.have(id) for id in ids))
    last = bitcoins.wait(workload.produce(BLOCK, 10_000))
    bitcoins.net.run_until(lambda: height(other) == 4)
    block = parse_block(bitcoins.wait(protocol(other).block(last)))
    assert {transaction.wtxid for transaction in map(block.transaction, range(1, 6))} == set(ids)
    assert witness_commitment(block.transaction(0)) is not None
    assert len(protocol(other).pool) == 0


@pytest.mark.parametrize("size", [LEAST_TRANSACTION, 250, 400, 5_000, LARGEST_TRANSACTION])
def test_a_transaction_is_of_the_size_asked_for_and_standard(size):
    made = make_transaction(FakeContext("x").rng.randbytes, size)
    check_transaction(made)
    assert not_standard(made) == ""
    assert size - 12 <= made.size <= size + 4


@pytest.mark.parametrize("size", [170, 1_000, 30_000, LARGEST])
def test_a_block_is_of_the_size_asked_for_with_what_fits_of_the_pool(size):
    chance = FakeContext("x").rng.randbytes
    template = TEMPLATE._replace(transactions=[make_transaction(chance, 5_000) for _ in range(3)])
    block = parse_block(make_block(template, 0, b"12345678", size))
    check_block(block)
    assert abs(len(block.raw) - size) < 70
    assert len(block) == 1 + min(3, (size - 170) // 5_000)
    assert block.header.time == template.time


@pytest.mark.parametrize("confirm", [True, False])
def test_the_pool_is_confirmed_unless_the_config_says_otherwise_also_while_it_runs(confirm):
    made, network, _ = works(confirm=not confirm)
    made.reconfigure(BitcoinWorkloadConfig(confirm=confirm))
    result(made.produce(BLOCK, 1_000))
    assert len(parse_block(network.got[0])) == 1 + confirm


def test_sizes_out_of_reach_come_to_the_nearest_that_is():
    made, network, _ = works()
    for topic, size in ((BLOCK, 10**9), (BLOCK, 0), (TX, 10**9), (TX, 0)):
        made.produce(topic, size)
    assert [len(raw) // 10 for raw in network.got] == pytest.approx([95_000, 17, 9_900, 19], abs=7)


def test_items_are_all_different_and_the_same_for_one_seed():
    ids = []
    for seed in (1, 2, 1):
        made, _, _ = works(seed)
        ids.append([result(made.produce(topic, 300)) for topic in (BLOCK, TX) * 5])
    first, second, again = ids
    assert first == again and len({*first, *second}) == 20


def test_what_the_node_does_not_take_is_a_failure_with_the_reason_and_counted():
    made, network, context = works()
    network.outcome = Validation(Outcome.REJECT, "bad-luck")
    failure = result(made.produce(TX, 300))
    assert failure.check(P2PFrameError) and "bad-luck" in failure.getErrorMessage()
    assert context.metrics.value("workload_items_total", "tx", "reject") == 1


def test_other_topics_and_other_chains_are_refused():
    made, _, _ = works()
    assert result(made.produce("letter", 1)).check(ValueError)
    made.start()
    made.stop()
    with pytest.raises(PluginError, match="mainnet"):
        works(chain=CHAINS["mainnet"])[0].start()
    with pytest.raises(PluginError, match="nonces"):
        make_block(TEMPLATE._replace(bits=CHAINS["mainnet"].pow_limit_bits), 0, b"", 0)


def test_an_item_is_cheap():
    made, network, _ = works()
    with Work(600 * 1000):
        for _ in range(300):
            made.produce(BLOCK, 1_000)
            made.produce(TX, 250)
    # A simulation of a thousand nodes asks for many.
