"""IItems and IScheduler: core's own services for a network's items. Protocols and applications use them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from twisted.internet.defer import Deferred
from zope.interface import Interface

from p2pframe.interfaces.session import ISession
from p2pframe.model import Item, ItemId, SessionId, Topic, Validation


class IItems(Interface):
    """The way of an item through a node: known? -> validator -> item store -> relay policy -> links.

    `context.service(IItems)` gives the one of the plugin's network.
    """

    def announced(session: ISession, topic: Topic, ids: Sequence[ItemId]) -> None:
        """A peer says that it has these.

        Marks them for the relay policy, and where the topic is scheduled has the unknown ones asked for. Hot: no object
        is made for an id that is known.
        """

    def delivered(session: ISession, item: Item, requested: bool = True) -> None:
        """A peer gave an item. `requested` is False for what came unasked."""

    def not_found(session: ISession, topic: Topic, ids: Sequence[ItemId]) -> None:
        """A peer has not got what it was asked for: the next announcer is asked."""

    def publish(item: Item) -> Deferred[Validation]:
        """An item of our own: validated, stored and spread like any other. Fires with the validator's answer."""

    def spread(item: Item, source: ISession | None = None) -> None:
        """Hand an item that is held to the relay policy now.

        For a protocol whose validator said `spread=False` because the item was not yet news (a block that did not
        connect).
        """

    def known(topic: Topic, id: ItemId) -> bool:
        """Whether it is held, being fetched into the store, or was recently rejected."""

    def may_serve(session: ISession, topic: Topic, id: ItemId) -> bool:
        """Whether the relay policy lets this peer have the item (it was announced to it, or is old news).

        Serving what was never announced tells who had it first.
        """

    def withdraw(topic: Topic, ids: Iterable[ItemId]) -> None:
        """These are no longer held (expired, replaced, mined): they are not announced any more."""

    def subscribe(topic: Topic, callback: Callable[[Item, ISession | None], None]) -> Callable[[], None]:
        """Call back with every newly accepted item and who brought it. Returns what ends the subscription."""


class IScheduler(Interface):
    """Only it requests: one request in flight for an item, the next candidate after a timeout, bounded per peer.

    `context.service(IScheduler)` gives the one of the plugin's network.
    """

    def want(
        topic: Topic, id: ItemId, candidates: Sequence[SessionId], timeout: float | None = None, urgent: bool = False
    ) -> None:
        """Ask one of `candidates` (in order of preference) for an item; wanting it again adds candidates.

        `timeout` in seconds overrides the topic's. Candidates that are full wait their turn.
        """

    def unwant(topic: Topic, id: ItemId) -> None:
        """Forget it: nobody else is asked. An answer that is under way is still taken."""

    def done(topic: Topic, id: ItemId) -> None:
        """It arrived (or is known by now): forget all about it."""

    def failed(topic: Topic, id: ItemId, session: SessionId) -> None:
        """That peer can't or won't give it: ask the next candidate."""

    def in_flight(session: SessionId, topic: Topic) -> Sequence[ItemId]:
        """What that peer is being asked for now."""

    def on_exhausted(topic: Topic, callback: Callable[[ItemId], None]) -> None:
        """Call back for an item whose candidates have all failed, so that a sync can name others."""
