"""The `bitcoin-workload` application: blocks and transactions on demand, for networks that are there to be tested.

    applications:
      - {plugin: bitcoin-workload, network: bitcoin}

Does nothing by itself. Whoever drives it (`IWorkload`; the simulator does, by a scenario's `workload`) has it make an
item at the moments of its choice. Blocks go on top of the node's own tip, also while that is behind others': who mines
in a part that is cut off does so too. Transactions spend outputs that nobody knows, which is enough for nodes that
check form and not coins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from p2pframe.errors import P2PFrameError, PluginError
from p2pframe.interfaces import IApplication, IContext, IReconfigurable, IWorkload
from p2pframe.model import ItemId, Outcome, Topic, Validation
from p2pframe.plugin import PluginConfig, live, plugin
from p2pframe.protocols.bitcoin.api import (
    BLOCK,
    CHAINS,
    TX,
    Header,
    IBitcoin,
    Template,
    Transaction,
    TxInput,
    TxOutput,
    build_coinbase,
    build_transaction,
    hash256,
    join_block,
    meets_target,
    merkle_root,
    serialize_header,
)

CHAIN = CHAINS["regtest"]
"""The one chain on which a block costs nothing."""
TRIES = 1_000
"""Nonces looked at for one block: each does with a chance of one half, so that not finding one means a wrong target."""
RETURN = b"\x6a"
"""OP_RETURN: an output that nobody can spend, here for its bytes."""
TO_KEY_HASH = b"\x00\x14"
"""What stands before 20 bytes of a key's hash in an output to a version 0 witness program (BIP141)."""
SIGNATURE, KEY = 71, 33
"""Bytes of the two parts of a usual witness."""
PAYMENT = 20_000
"""Satoshi in each output; what the fee is, nobody here knows."""
OVERHEAD = 12
"""Bytes of an output that holds data, without these: value, length, OP_RETURN."""
LEAST_TRANSACTION = 191
"""Bytes of a transaction with one input, its witness, and one output."""
EMPTY_BLOCK = 170
"""Bytes of a block with nothing but a coinbase, and no dead weight in that."""
VERSION = 0x20000000
"""BIP9's block version without a vote."""
LARGEST = 950_000
"""Bytes of a block at most: none of them witness, so that it stays below BIP141's limit."""
LARGEST_TRANSACTION = 99_000
"""The same for a transaction: beyond 400,000 units of weight nodes relay none."""


class BitcoinWorkloadConfig(PluginConfig):
    """Options of the `bitcoin-workload` application."""

    confirm: bool = live(
        True, description="Put the pool's transactions into blocks; off where only their relay is measured."
    )


@plugin("bitcoin-workload", config=BitcoinWorkloadConfig)
@implementer(IApplication, IWorkload, IReconfigurable)
class BitcoinWorkload:
    """Makes regtest blocks and transactions when it is asked to; for test networks and the simulator."""

    name = "bitcoin-workload"
    topics: Sequence[Topic] = (BLOCK, TX)

    def __init__(self, config: BitcoinWorkloadConfig, context: IContext) -> None:
        self.config = config
        self._rng = context.rng
        self._time = context.unix_time
        self._bitcoin = context.service(IBitcoin)
        self._made = context.metrics.counter(
            "workload_items_total", "Items made on demand, by topic and what became of them.", ("topic", "outcome")
        )

    def reconfigure(self, config: object) -> None:
        """See `IReconfigurable`."""
        assert isinstance(config, BitcoinWorkloadConfig)
        self.config = config

    def start(self) -> None:
        """Raises `PluginError` on a chain other than regtest: elsewhere these transactions would be a nuisance."""
        if self._bitcoin.chain.name != CHAIN.name:
            raise PluginError(
                f"bitcoin-workload: its network is on {self._bitcoin.chain.name}; it makes items for {CHAIN.name} only"
            )

    def stop(self) -> None:
        """Nothing to stop: what was handed in finds its way without us."""

    def produce(self, topic: Topic, size: int) -> Deferred[ItemId]:
        """See `IWorkload.produce`.

        A block has as many of the pool's transactions as fit (none without `confirm`), and the rest of `size` as dead
        weight in its coinbase; its least is about 200 bytes, its most 950,000. A transaction has 191 to 99,000. Sizes
        beyond come to these.
        """
        if topic == BLOCK:
            template = self._bitcoin.template()
            if not self.config.confirm:
                template = template._replace(transactions=[])
            raw = make_block(template, int(self._time()), self._rng.randbytes(8), min(size, LARGEST))
            return self._bitcoin.submit_block(raw).addCallback(self._taken, topic, ItemId(hash256(raw[:80])))
        if topic == TX:
            made = make_transaction(self._rng.randbytes, min(size, LARGEST_TRANSACTION))
            return self._bitcoin.submit_transaction(made.raw).addCallback(self._taken, topic, ItemId(made.wtxid))
        return fail(ValueError(f"bitcoin-workload makes {BLOCK} and {TX}, no {topic}"))

    def _taken(self, validation: Validation, topic: Topic, id: ItemId) -> ItemId:
        self._made.add(1, topic, validation.outcome.value)
        if validation.outcome is not Outcome.ACCEPT:
            reason = validation.reason or "no reason given"
            raise P2PFrameError(f"a {topic} of ours was not taken ({validation.outcome.value}): {reason}")
        return id


def make_transaction(chance: Callable[[int], bytes], size: int) -> Transaction:
    """A transaction of `size` bytes, or 191 where that is less, that is like no other: `chance` gives random bytes."""
    parts = chance(32 + 20 + SIGNATURE + KEY)
    coin, payee, signature, key = parts[:32], parts[32:52], parts[52 : 52 + SIGNATURE], parts[52 + SIGNATURE :]
    outputs = [TxOutput(PAYMENT, TO_KEY_HASH + payee)]
    rest = size - LEAST_TRANSACTION - OVERHEAD
    if rest > 0:
        outputs.append(TxOutput(0, RETURN + bytes(rest)))
    return build_transaction([TxInput(coin, 0, b"", 0xFFFFFFFF, (signature, key))], outputs)


def make_block(template: Template, now: int, extra: bytes, size: int) -> bytes:
    """A block on top of `template`, of about `size` bytes; `extra` (at most 75 bytes) makes it like no other.

    Raises `PluginError` where none of `TRIES` nonces gives proof of work.
    """
    chosen: list[Transaction] = []
    left = size - EMPTY_BLOCK
    for transaction in template.transactions:
        # The first that does not fit ends it: what follows may spend it.
        if transaction.size > left:
            break
        chosen.append(transaction)
        left -= transaction.size
    coinbase = build_coinbase(
        template.height, 0, RETURN + bytes(max(0, left)), chosen, bytes([len(extra)]) + extra,
        commit=any(transaction.has_witness for transaction in chosen),
    )  # fmt: skip
    whole = [coinbase, *chosen]
    root = merkle_root([transaction.txid for transaction in whole])[0]
    time = max(now, template.time)
    start = serialize_header(Header(VERSION, template.previous, root, time, template.bits, 0))[:-4]
    for nonce in range(TRIES):
        header = start + nonce.to_bytes(4, "little")
        if meets_target(hash256(header), template.bits, CHAIN.pow_limit):
            return join_block(header, whole)
    raise PluginError(f"bitcoin-workload: no proof of work within {TRIES} nonces for the target {template.bits:08x}")
