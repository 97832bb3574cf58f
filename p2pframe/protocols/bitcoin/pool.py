"""TransactionPool: the unconfirmed transactions that are held and passed on, and the rules that they must keep.

Checked is what needs no other transaction: encoding, amounts, inputs spent twice, and what relaying nodes take as
standard (version, weight, size, signature scripts). There is no set of unspent outputs here, so nobody knows whether
the spent outputs exist, what a transaction pays, or whether its scripts succeed: fees are unknown, parents are not
waited for, and of two transactions that spend the same output the first one seen stays.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from p2pframe.interfaces import IContext, IItemStore, IValidator
from p2pframe.model import ACCEPTED, Fact, Floor, Item, ItemId, Outcome, Topic, Validation
from p2pframe.protocols.bitcoin.block import Block
from p2pframe.protocols.bitcoin.transaction import (
    MAX_STANDARD_WEIGHT,
    BadTransaction,
    Transaction,
    check_transaction,
    parse_transaction,
    read_outpoints,
)

TX = Topic("tx")
STANDARD_VERSIONS = range(1, 4)
"""Transaction versions that are relayed; 3 is BIP431's."""
LEAST_SIZE = 65
"""Bytes without witnesses: one of 64 could pass for an inner node of a merkle tree (CVE-2017-12842)."""
LONGEST_SIGNATURE_SCRIPT = 1650
"""Bytes: fifteen signatures with their keys (Bitcoin Core, src/policy/policy.h)."""
CONFIRMED = 50_000
"""Ids of transactions lately mined that are remembered, so that nobody's late announcement fetches them again."""

_ENTRY = 700
"""Bytes that holding a transaction takes besides its encoding, and (below) for each output that it spends: measured."""
_SPEND = 135


class PoolOptions(Protocol):
    """What is read of a configuration, each time that it is needed."""

    @property
    def pool_size(self) -> int:
        """Bytes of memory that the pool may take, about."""

    @property
    def pool_expiry(self) -> float:
        """Seconds after which a transaction is dropped."""


class _Held(NamedTuple):
    """A held transaction.

    When it came (by the reactor's clock), the outputs that it spends, the memory that it takes.
    """

    item: Item
    transaction: Transaction
    arrived: float
    spends: tuple[bytes, ...]
    usage: int


@implementer(IItemStore, IValidator)
class TransactionPool:
    """The pool of one network: store and validator of the topic `tx`, whose items have the wtxid as id.

    `options` may be replaced by newer ones. `evicted` is told the ids of what made room for others, so that they are
    not announced any more; what `mined`, `unmined` and `expire` remove, they return.
    """

    topics: Sequence[Topic] = (TX,)

    def __init__(
        self, options: PoolOptions, context: IContext, evicted: Callable[[list[ItemId]], None] | None = None
    ) -> None:
        self.options = options
        self.bytes = 0
        """Memory that the pool takes, about."""
        self._evicted = evicted
        self._seconds = context.reactor.seconds
        self._held: OrderedDict[bytes, _Held] = OrderedDict()
        self._by_txid: dict[bytes, _Held] = {}
        self._spent: dict[bytes, _Held] = {}
        self._confirmed: OrderedDict[bytes, None] = OrderedDict()
        metrics = context.metrics
        self._turned_away = metrics.counter("pool_turned_away_total", "Transactions not taken, by reason.", ("reason",))
        self._removed = metrics.counter("pool_removed_total", "Transactions taken out, by reason.", ("reason",))
        self._count_gauge = metrics.gauge("pool_transactions", "Transactions held.")
        self._bytes_gauge = metrics.gauge("pool_bytes", "Memory that the held transactions take, about.")

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[Item]:
        """The held items, oldest first."""
        return (held.item for held in list(self._held.values()))

    # --- as a store ---

    def item(self, raw: bytes) -> Item:
        """The item of a transaction's bytes; raises MalformedMessage where they are none."""
        transaction = parse_transaction(raw)
        aliases = () if transaction.txid == transaction.wtxid else (ItemId(transaction.txid),)
        return Item(TX, ItemId(transaction.wtxid), transaction, transaction.size, aliases=aliases)

    def have(self, id: ItemId) -> bool:
        """See `IItemStore.have`: by either id; also for what was mined lately, which nobody needs to send us again."""
        return id in self._held or id in self._by_txid or id in self._confirmed

    def find(self, id: ItemId) -> Item | None:
        """The held item of a wtxid or a txid, at once."""
        held = self._held.get(id) or self._by_txid.get(id)
        return None if held is None else held.item

    def get(self, id: ItemId) -> Deferred[Item | None]:
        """See `IItemStore.get`."""
        return succeed(self.find(id))

    def put(self, item: Item) -> Deferred[bool]:
        """See `IItemStore.put`.

        Over `pool_size` the oldest make room: as long as fees are unknown nothing else ranks them.
        """
        return succeed(self._put(item))

    # --- as a validator ---

    def validate(self, item: Item) -> Validation:
        """See `IValidator.validate`.

        What can't be valid for anyone ends the session and has its sender discouraged: honest nodes check the same
        before they relay. What is only not standard is turned away, and is noted. A conflict is nobody's fault: the
        others saw that one first.
        """
        transaction = item.body
        if not isinstance(transaction, Transaction):
            return Validation(Outcome.IGNORE, "no transaction")
        try:
            check_transaction(transaction)
            if transaction.is_coinbase:
                raise BadTransaction("coinbase", "outside of a block")
        except BadTransaction as error:
            return self._reject(transaction, error.reason, str(error), Floor.END_AND_DISCOURAGE)
        reason = not_standard(transaction)
        if reason:
            return self._reject(transaction, reason, reason, Floor.NOTE)
        reason = self._conflict(transaction, outpoints(transaction.raw, 0))
        if reason:
            self._turned_away.add(1, reason)
            return Validation(Outcome.IGNORE, reason)
        return ACCEPTED

    def _reject(self, transaction: Transaction, reason: str, text: str, floor: Floor) -> Validation:
        # Core remembers the rejected item by its wtxid, never by the txid: a peer could else damage a witness,
        # have that copy rejected, and so keep us from the good one.
        self._turned_away.add(1, reason)
        evidence = f"{transaction.txid[::-1].hex()}: {text}"[:200]
        malformed = floor is not Floor.NOTE
        kind = "bad-transaction" if malformed else "nonstandard-transaction"
        weight = 1.0 if malformed else 0.0  # other policies than ours are no offence: noted, worth no points
        return Validation(Outcome.REJECT, reason, Fact(kind, floor, evidence, proven=True, weight=weight))

    def _conflict(self, transaction: Transaction, spends: Sequence[bytes]) -> str:
        """Why a transaction can't be held beside those that are; empty where it can."""
        if transaction.txid in self._confirmed:
            return "mined"
        if transaction.txid in self._by_txid:
            return "same-txid"
        return "conflict" if any(spend in self._spent for spend in spends) else ""

    # --- the chain and the clock ---

    def mined(self, block: Block) -> list[ItemId]:
        """A block came to stand on the best chain: what it holds and what it makes impossible goes.

        Returns the ids of both.
        """
        removed: list[ItemId] = []
        confirmed = self._confirmed
        for index, txid in enumerate(block.txids):
            confirmed[txid] = None
            confirmed[block.wtxids[index]] = None
            held = self._by_txid.get(txid)
            if held is not None:
                removed.append(self._take_out(held, "mined"))
        if self._held:
            for start in block.offsets[1:-1]:
                for spend in outpoints(block.raw, start):
                    rival = self._spent.get(spend)
                    if rival is not None:
                        removed += self._take_out_with_children(rival, "conflict")
        while len(confirmed) > CONFIRMED:
            confirmed.popitem(last=False)
        self._measure()
        return removed

    def unmined(self, block: Block) -> list[ItemId]:
        """A block no longer stands on the best chain: what it held comes back, as far as it keeps the pool's rules.

        Returns the ids of what had to make room.
        """
        before = dict.fromkeys(self._held)
        for id in (*block.txids, *block.wtxids):
            self._confirmed.pop(id, None)
        for index in range(1, len(block)):
            item = self.item(block.raw[block.offsets[index] : block.offsets[index + 1]])
            if self.validate(item).outcome is Outcome.ACCEPT:
                self._insert(item)
        self._trim()
        self._measure()
        return [ItemId(id) for id in before if id not in self._held]

    def expire(self, now: float) -> list[ItemId]:
        """Drop what came over `pool_expiry` seconds before `now` (by the reactor's clock), and what is over a lowered
        `pool_size`. Returns the ids."""
        removed: list[ItemId] = []
        limit = now - self.options.pool_expiry
        while self._held:
            oldest = next(iter(self._held.values()))
            if oldest.arrived > limit:
                break
            removed += self._take_out_with_children(oldest, "expired")
        removed += self._trim()
        self._measure()
        return removed

    def select(self, weight: int) -> list[Transaction]:
        """Transactions for a block, of at most that weight together: oldest first, none before one that it spends."""
        chosen: dict[bytes, Transaction] = {}
        left_out: set[bytes] = set()
        for first in list(self._held.values()):
            stack = [first]
            while stack:
                held = stack[-1]
                txid = held.transaction.txid
                parents = [self._by_txid[spend[:32]] for spend in held.spends if spend[:32] in self._by_txid]
                waiting = [
                    p for p in parents if p.transaction.txid not in chosen and p.transaction.txid not in left_out
                ]
                if waiting and txid not in chosen:
                    stack.append(waiting[0])
                    continue
                stack.pop()
                if txid in chosen or txid in left_out:
                    continue
                if held.transaction.weight > weight or any(p.transaction.txid in left_out for p in parents):
                    left_out.add(txid)
                else:
                    chosen[txid] = held.transaction
                    weight -= held.transaction.weight
        return list(chosen.values())

    # --- within ---

    def _put(self, item: Item) -> bool:
        transaction = item.body
        if not isinstance(transaction, Transaction):
            raise TypeError(f"the body of a tx item is a Transaction, not {type(transaction).__name__}")
        if item.id in self._held:
            return True
        reason = self._insert(item)
        if reason:
            self._turned_away.add(1, reason)
            return False
        evicted = self._trim()
        self._measure()
        if evicted and self._evicted is not None:
            self._evicted(evicted)
        return item.id in self._held

    def _insert(self, item: Item) -> str:
        """Hold an item; or say why not, as another may have come while its validators took their time."""
        transaction = item.body
        assert isinstance(transaction, Transaction)
        spends = tuple(outpoints(transaction.raw, 0))
        usage = _ENTRY + item.size + _SPEND * len(spends)
        if usage > self.options.pool_size:
            return "larger-than-pool"
        reason = self._conflict(transaction, spends)
        if reason:
            return reason
        held = _Held(item, transaction, self._seconds(), spends, usage)
        self._held[item.id] = held
        self._by_txid[transaction.txid] = held
        for spend in spends:
            self._spent[spend] = held
        self.bytes += usage
        return ""

    def _trim(self) -> list[ItemId]:
        removed: list[ItemId] = []
        while self._held and self.bytes > self.options.pool_size:
            removed += self._take_out_with_children(next(iter(self._held.values())), "evicted")
        return removed

    def _take_out(self, held: _Held, reason: str) -> ItemId:
        del self._held[held.item.id]
        del self._by_txid[held.transaction.txid]
        for spend in held.spends:
            del self._spent[spend]
        self.bytes -= held.usage
        self._removed.add(1, reason)
        return held.item.id

    def _take_out_with_children(self, held: _Held, reason: str) -> list[ItemId]:
        """Also what spends its outputs, and so on: without it they can't be mined."""
        removed: list[ItemId] = []
        doomed = [held]
        while doomed:
            one = doomed.pop()
            if one.item.id not in self._held:
                continue  # it spends several of the doomed
            removed.append(self._take_out(one, reason))
            reason = "parent-gone"
            txid = one.transaction.txid
            for vout in range(len(one.transaction.outputs)):
                child = self._spent.get(txid + vout.to_bytes(4, "little"))
                if child is not None:
                    doomed.append(child)
        return removed

    def _measure(self) -> None:
        self._count_gauge.set(len(self._held))
        self._bytes_gauge.set(self.bytes)


def outpoints(raw: bytes, at: int) -> list[bytes]:
    """The outputs that the (well-formed) transaction at `at` of `raw` spends: 36 bytes each, as in the encoding."""
    return read_outpoints(raw, at)[0]


def not_standard(transaction: Transaction) -> str:
    """Bitcoin Core's word (src/policy/policy.cpp, IsStandardTx) for why relaying nodes do not take a transaction; empty
    where they do. Output scripts and amounts are not looked at."""
    if transaction.version not in STANDARD_VERSIONS:
        return "version"
    if transaction.weight > MAX_STANDARD_WEIGHT:
        return "tx-size"
    if transaction.stripped_size < LEAST_SIZE:
        return "tx-size-small"
    for script in transaction.scripts:
        if len(script) > LONGEST_SIGNATURE_SCRIPT:
            return "scriptsig-size"
        if script and not only_pushes(script):
            return "scriptsig-not-pushonly"
    return ""


def only_pushes(script: bytes) -> bool:
    """Whether a script only pushes data.

    Anything else in a signature script would let others change it without breaking it.
    """
    at, end = 0, len(script)
    while at < end:
        code = script[at]
        at += 1
        if code > 0x60:
            return False
        if code < 0x4C:
            at += code
        elif code <= 0x4E:
            width = 1 << (code - 0x4C)
            if at + width > end:
                return False
            at += width + int.from_bytes(script[at : at + width], "little")
    return at == end
