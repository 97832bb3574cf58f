"""IRelayPolicy: who is told of an item, when, in full or by id?"""

from __future__ import annotations

from collections.abc import Sequence

from zope.interface import Attribute, Interface

from p2pframe.interfaces.session import ILink
from p2pframe.model import Item, ItemId, Topic


class IRelayPolicy(Interface):
    """Who is told of an item, when, in full or by id. Sees links, items and topics; never a message of the wire.

    `needs` is read from the class by the config check.
    """

    needs: Sequence[frozenset[str]] = Attribute(
        "Sets of verbs; the protocol must offer all verbs of at least one of them."
    )

    def link_added(link: ILink) -> None:
        """Called when a session has opened, once for each of its topics."""

    def link_removed(link: ILink) -> None:
        """Called when it is ending: forget the link."""

    def announced(link: ILink, ids: Sequence[ItemId]) -> None:
        """Called when the peer says that it has these, or gave them in full: never tell it of them. Hot."""

    def accepted(item: Item, source: ILink | None) -> None:
        """Called once for each item that has been validated and stored; `source` brought it, None for our own."""

    def withdrawn(topic: Topic, ids: Sequence[ItemId]) -> None:
        """Called when items are no longer held: do not tell of them any more."""

    def may_serve(link: ILink, id: ItemId) -> bool:
        """Called when the peer asks for an item that is held.

        False where it was not told of it and it is too new for it to have heard of it otherwise.
        """
