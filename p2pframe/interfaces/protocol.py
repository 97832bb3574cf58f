"""INetworkProtocol: what do the bytes mean?"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zope.interface import Attribute, Interface

from p2pframe.interfaces.datagram import IDatagramPort, IDatagramReceiver
from p2pframe.interfaces.session import ISession
from p2pframe.model import Item, ItemId, PeerAddress, Topic

if TYPE_CHECKING:
    from p2pframe.interfaces.item_store import IItemStore
    from p2pframe.interfaces.validator import IValidator


class Use(enum.Enum):
    """Whether a protocol uses a seam: the config check refuses a seam of NONE and misses one of REQUIRED."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class TopicRules:
    """How items of one topic are asked for and told of; times in seconds, bounds per session.

    `urgent` topics are announced at once by every policy. `timeout` is how long a request may take before the next
    announcer is asked; `in_flight` and `announcements` bound what one peer can occupy; `inbound_delay` is how long an
    announcement by an inbound peer waits for an outbound one. `scheduled` is False where the protocol's own sync
    decides what to ask for, and announcements only inform it.
    """

    urgent: bool = False
    scheduled: bool = True
    timeout: float = 60.0
    in_flight: int = 100
    announcements: int = 5000
    inbound_delay: float = 2.0


class IConversation(Interface):
    """What is said over one session. Built by `INetworkProtocol.conversation`; called from the reactor thread only.

    An `UnreadableStream` out of `receive` or `resume` closes the session with its reason; any other exception is logged
    with the plugin's name, counted, and closes the session too.
    """

    def start() -> None:
        """Called once, when the transport and the upgrades are done: send what opens the handshake."""

    def receive(data: bytes) -> None:
        """Called with what was read, in any segmentation. Must keep no more than its largest message of it."""

    def resume() -> None:
        """Called when reading goes on after `ISession.charge` said False: go on with what is buffered."""

    def tick(now: float) -> None:
        """Called every few seconds (`limits.tick`): the place for pings and silences. `now` is `reactor.seconds()`."""

    def drained() -> None:
        """Called when `ISession.writable` of an open session is True again: go on with what was held back."""

    def announce(topic: Topic, items: Sequence[Item]) -> None:
        """Tell the peer that we have these (a link's verb)."""

    def request(topic: Topic, ids: Sequence[ItemId]) -> None:
        """Ask the peer for these (a link's verb, used by the scheduler)."""

    def deliver(topic: Topic, item: Item) -> None:
        """Give what was asked for (a link's verb)."""

    def push(topic: Topic, item: Item) -> None:
        """Give it unasked (a link's verb); called only where the protocol's verbs have it."""

    def graft(topic: Topic) -> None:
        """Ask to be sent items in full (a link's verb); called only where the protocol's verbs have it."""

    def prune(topic: Topic) -> None:
        """Ask for ids only (a link's verb); called only where the protocol's verbs have it."""

    def closed(reason: str) -> None:
        """Called once when the session has ended, whatever ended it, and also where `start` never was.

        Nothing is called afterwards.
        """


class INetworkProtocol(Interface):
    """What the bytes mean: one network's wire protocol, with the items that spread on it.

    The first four attributes are read from the class, before it is built, by the config check.
    """

    seams: Mapping[str, Use] = Attribute(
        "By kind (transport, upgrade, discovery, topology, relay, scoring, authentication, validator, item-store): "
        "whether the protocol uses it. A kind left out is NONE."
    )
    topics: Mapping[Topic, TopicRules] = Attribute(
        "The topics of its items, with their rules; empty where nothing spreads."
    )
    verbs: frozenset[str] = Attribute("What its links offer: of announce, request, deliver, push, graft, prune.")
    datagrams: bool = Attribute(
        "True where it speaks datagrams without sessions: `receiver` is used, not `conversation`."
    )

    default_port: int = Attribute("The port that an address without one means.")

    def conversation(session: ISession) -> IConversation:
        """Called for each session as it is accepted or connected. Must be cheap: ten thousand idle ones are normal."""

    def receiver(port: IDatagramPort) -> IDatagramReceiver:
        """Called once at start where `datagrams` is True: what takes the datagrams of `port`."""

    def dialable(address: PeerAddress) -> bool:
        """Called before an address enters the book or is dialled (never for manual peers).

        False for those that are not routable on a public network, or that could aim the node at a victim.
        """

    def stores() -> Mapping[Topic, IItemStore]:
        """Called once after building: the item stores of its topics. A topic without one is not stored."""

    def validators() -> Mapping[Topic, IValidator]:
        """Called once after building: the protocol's own validators. Those named in the config run after them."""

    def stale() -> bool:
        """Called now and then.

        True where nothing new came for longer than the protocol expects, so that the topology may look for one more
        peer.
        """
