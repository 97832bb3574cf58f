"""A miner in one file: makes a block now and then, on chains where that costs nothing.

A worked example of `IApplication`.

    applications:
      - {plugin: miner, network: bitcoin, interval: 5s}

An application uses what networks provide: this one asks its network's protocol for `IBitcoin`, by which it learns what
the next block has to be, and hands in what it has made. From there a block of ours goes the way of any other:
validated, stored, announced.

What makes it a good citizen: it works in small bounded steps on the reactor's clock, it mines only on a tip that has
all of the best headers' blocks, and it refuses chains where proof of work is real.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from pydantic import field_validator
from pydantic_core import PydanticCustomError
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from zope.interface import implementer

from p2pframe.errors import PluginError
from p2pframe.interfaces import IApplication, IContext, IReconfigurable
from p2pframe.model import Outcome, Validation
from p2pframe.plugin import Duration, PluginConfig, live, plugin
from p2pframe.protocols.bitcoin.api import (
    Chain,
    Header,
    IBitcoin,
    Template,
    Transaction,
    assemble_block,
    build_coinbase,
    hash256,
    hash_hex,
    meets_target,
    merkle_root,
    serialize_header,
)

CHAIN = "regtest"
SUBSIDY = 50 * 100_000_000
"""Satoshi that the first blocks may claim."""
HALVING = 150
"""Blocks after which that halves on regtest."""
ANYONE_CAN_SPEND = b"\x51"
"""OP_TRUE: the coins of a chain that is worth nothing belong to whoever wants to test with them."""
VERSION = 0x20000003
"""BIP9's version with the votes for CSV and segwit.

Peers that still count them on regtest (bcoin) have both after 432 blocks.
"""
TRIES = 10_000
"""Nonces looked at for one block: one of two does on regtest, so that not finding one means that something is wrong."""
EXTRA_NONCE = 8
"""Random bytes in each coinbase: two miners on one tip make two blocks."""
LONGEST_MESSAGE = 75
"""Bytes that one push holds; with height and extra nonce a coinbase's script may have 100."""


class MinerConfig(PluginConfig):
    """Options of the `miner` application."""

    interval: Duration = live(5.0, ge=0.01, description="Time between two blocks.")
    patience: Duration = live(60.0, description="How long to wait for blocks of a longer chain before mining on ours.")
    limit: int = live(0, ge=0, description="Stop after this many blocks; 0 for no end.")
    message: str = live("p2pframe", description="Text in each coinbase, at most 75 bytes of UTF-8.")

    @field_validator("message")
    @classmethod
    def _short(cls, message: str) -> str:
        if len(message.encode()) > LONGEST_MESSAGE:
            raise PydanticCustomError("message", "longer than {most} bytes of UTF-8", {"most": LONGEST_MESSAGE})
        return message


@plugin("miner", config=MinerConfig)
@implementer(IApplication, IReconfigurable)
class Miner:
    """Makes blocks on a regtest chain."""

    name = "miner"

    def __init__(self, config: MinerConfig, context: IContext) -> None:
        self.config = config
        self.context = context
        self.mined = 0
        """Blocks of ours that were accepted."""
        # Asked for here, so that the network is built and started first.
        self._bitcoin = context.service(IBitcoin)
        self._loop: LoopingCall | None = None
        self._behind_since: float | None = None
        self._blocks = context.metrics.counter(
            "miner_blocks_total", "Blocks made, by what became of them.", ("outcome",)
        )
        self._waited = context.metrics.counter("miner_waited_total", "Rounds without a block, by why.", ("reason",))

    def start(self) -> None:
        """Begin. Raises `PluginError` on a chain with real proof of work, where this miner would only warm the room."""
        chain = self._bitcoin.chain
        if chain.name != CHAIN:
            raise PluginError(
                f"miner: its network is on {chain.name}, and this miner is for {CHAIN} only: "
                f"set `chain: {CHAIN}` there, or take the miner out of `applications`"
            )
        loop = LoopingCall(self._round)
        loop.clock = self.context.reactor
        self._loop = loop
        loop.start(self.config.interval, now=False)
        self.context.log.info("mining a block every {seconds:g} s", seconds=self.config.interval)

    def stop(self) -> None:
        """No more blocks; one that was handed in finds its way without us."""
        if self._loop is not None and self._loop.running:
            self._loop.stop()
        self._loop = None

    def reconfigure(self, config: object) -> None:
        """Called with new live options; a new interval holds from the next block on."""
        self.config = cast(MinerConfig, config)
        if self._loop is not None:
            self._loop.interval = self.config.interval

    def _round(self) -> Deferred[None]:
        # The loop would end with its first failure: a disk that is full today may not be tomorrow.
        return Deferred.fromCoroutine(self._mine()).addErrback(self._failed)

    def _behind(self) -> bool:
        """Whether blocks of a longer chain are on their way; one whose blocks never come is waited for only so long."""
        now = self.context.reactor.seconds()
        if self._bitcoin.tip() == self._bitcoin.best_header():
            self._behind_since = None
            return False
        if self._behind_since is None:
            self._behind_since = now
        return now - self._behind_since < self.config.patience

    async def _mine(self) -> None:
        bitcoin = self._bitcoin
        reason = ""
        if self.config.limit and self.mined >= self.config.limit:
            reason = "limit"
        elif self._behind():
            # A block here would only make a fork that the others' longer chain wins.
            reason = "not-synced"
        if reason:
            self._waited.add(1, reason)
            return
        template = bitcoin.template()
        time = max(template.time, int(self.context.unix_time()))
        raw = make_block(template, bitcoin.chain, time, self._extra())
        if raw is None:
            self._waited.add(1, "no-nonce")
            return
        self._taken(await bitcoin.submit_block(raw), template.height, raw, len(template.transactions))

    def _extra(self) -> bytes:
        message = self.config.message.encode()
        return push(message) + push(self.context.rng.randbytes(EXTRA_NONCE))

    def _taken(self, validation: Validation, height: int, raw: bytes, transactions: int) -> None:
        self._blocks.add(1, validation.outcome.value)
        if validation.outcome is Outcome.ACCEPT:
            self.mined += 1
            self.context.log.debug(
                "mined block {height} with {count} transactions: {hash}",
                height=height, count=transactions, hash=hash_hex(hash256(raw[:80])),
            )  # fmt: skip
        else:
            self.context.log.warn(
                "block {height} of ours was not taken ({outcome}): {reason}",
                height=height, outcome=validation.outcome.value, reason=validation.reason,
            )  # fmt: skip

    def _failed(self, failure: Failure) -> None:
        self._blocks.add(1, "failed")
        self.context.log.error("no block was mined: {error}", error=failure.getErrorMessage())


def push(data: bytes) -> bytes:
    """A script that pushes at most 75 bytes."""
    return bytes([len(data)]) + data if data else b""


def subsidy(height: int) -> int:
    """What a regtest block may claim besides fees, in satoshi.

    What the fees are nobody here knows, so they are left.
    """
    return SUBSIDY >> (height // HALVING)


def make_block(template: Template, chain: Chain, time: int, extra: bytes) -> bytes | None:
    """A whole block with proof of work; None where none of `TRIES` nonces gives it."""
    transactions: Sequence[Transaction] = template.transactions
    witnesses = any(transaction.has_witness for transaction in transactions)
    coinbase = build_coinbase(
        template.height, subsidy(template.height), ANYONE_CAN_SPEND, transactions, extra, commit=witnesses
    )
    everything = [coinbase, *transactions]
    root, _ = merkle_root([transaction.txid for transaction in everything])
    header = Header(VERSION, template.previous, root, time, template.bits, 0)
    start = serialize_header(header)[:-4]
    for nonce in range(TRIES):
        if meets_target(hash256(start + nonce.to_bytes(4, "little")), template.bits, chain.pow_limit):
            return assemble_block(header._replace(nonce=nonce), everything)
    return None
