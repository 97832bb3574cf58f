"""BlockValidator: whether a block's body is that of its header.

A body that does not fit its header is its sender's offence, and the hash stays wanted: only a body that no sender could
have forged marks the block itself as bad.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from zope.interface import implementer

from p2pframe.interfaces import IValidator
from p2pframe.model import Fact, Floor, Item, Outcome, Topic, Validation
from p2pframe.protocols.bitcoin.block import BadBlock, Block, check_block
from p2pframe.protocols.bitcoin.block_store import TOPIC
from p2pframe.protocols.bitcoin.header import hash_hex
from p2pframe.protocols.bitcoin.header_index import HeaderIndex
from p2pframe.protocols.bitcoin.transaction import coinbase_height


@implementer(IValidator)
class BlockValidator:
    """Whether a block's body is that of its header: merkle root, witness commitment, size, height in the coinbase.

    Neither scripts nor amounts nor signet's signature are checked.
    """

    topics: Sequence[Topic] = (TOPIC,)

    def __init__(self, index: HeaderIndex, invalid: Callable[[bytes, str], None]) -> None:
        self._index = index
        self._invalid = invalid

    def validate(self, item: Item) -> Validation:
        """See `IValidator.validate`."""
        block = item.body
        index = self._index
        if not isinstance(block, Block) or item.id not in index:
            return Validation(Outcome.IGNORE, "its header is not known")
        if index.is_invalid(item.id):
            return Validation(Outcome.IGNORE, "follows a block that is invalid")
        height = index.height_of(item.id)
        chain = index.chain
        try:
            check_block(block, segwit=height >= chain.segwit_height)
            if height >= chain.bip34_height and coinbase_height(block.transaction(0)) != height:
                raise BadBlock("bad-cb-height", f"the coinbase does not say {height}")
        except BadBlock as error:
            evidence = f"{hash_hex(item.id)}: {error}"[:300]
            fact = Fact("bad-block", Floor.END_AND_DISCOURAGE, evidence, proven=True)
            if error.mutated:
                return Validation(Outcome.IGNORE, error.reason, fact)
            self._invalid(item.id, evidence)
            return Validation(Outcome.REJECT, error.reason, fact)
        return Validation(Outcome.ACCEPT, spread=False)
