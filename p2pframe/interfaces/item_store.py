"""IItemStore: what do we hold and serve?"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from zope.interface import Interface

from p2pframe.model import Item, ItemId


class IItemStore(Interface):
    """What a node holds and serves of one topic, within its configured bounds."""

    def have(id: ItemId) -> bool:
        """Called for every announced id: answers from memory, at once."""

    def get(id: ItemId) -> Deferred[Item | None]:
        """Called to serve an item; None where it is not held (any more). Fails with `StorageError`."""

    def put(item: Item) -> Deferred[bool]:
        """Called with an item that was validated. True: held now; False: turned away by a bound (counted by the store).

        Fails with `StorageError` (`StorageFull` under the floor of free space): the item is then not spread either.
        """
