"""ISession and ILink: a live connection as a protocol sees it, and one topic on it as a relay policy does.

Both are core's own: plugins use them and never implement them (a test kit does).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from zope.interface import Attribute, Interface

from p2pframe.model import (
    Fact,
    FoundAddress,
    HandshakeInfo,
    Item,
    ItemId,
    PeerAddress,
    Score,
    SessionCounters,
    SessionId,
    Slot,
    Topic,
    TransportInfo,
)


class ISession(Interface):
    """One live connection with a peer, given to the protocol's conversation."""

    id: SessionId = Attribute("Names the session within its network.")
    address: PeerAddress = Attribute("The other end, as connected (for inbound: with its ephemeral port).")
    inbound: bool = Attribute("True where the peer dialled us.")
    slot: Slot = Attribute("The class of the session.")
    info: TransportInfo = Attribute("What transport and upgrades proved.")
    counters: SessionCounters = Attribute("Plain numbers; a conversation adds to those that only it can know.")
    now: float = Attribute("`reactor.seconds()` as of the latest read or tick: cheaper than asking the reactor.")
    closing: bool = Attribute("True from the moment that the session begins to end: nothing sent then arrives.")
    writable: bool = Attribute("False while the peer does not read what is queued for it: send only what must be sent.")

    def charge(kind: str, length: int) -> bool:
        """Called once for each message when its header is known, before the body is decoded.

        `kind` is the message type where the protocol knows it, else `*`; `length` counts header and body in bytes.
        False: the session is over its budget, or the peer does not read what is sent. The conversation processes
        nothing more until `resume`, and does not charge this message again.
        """

    def write(data: bytes) -> None:
        """Queue bytes for the peer, in order.

        Once the queue is over `limits.send_buffer`, reading pauses until it drains.
        """

    def sent(kind: str, count: int = 1) -> None:
        """Count outgoing messages by type."""

    def identified(info: HandshakeInfo) -> bool:
        """Say who the peer is, once the handshake tells, before the handshake's last word of ours.

        Runs the authenticators and claims a slot. False: refused, and the session is closing with the reason.
        """

    def opened(topics: Sequence[Topic]) -> None:
        """Say that the handshake is complete: from now on there is a link for each of `topics`."""

    def link(topic: Topic) -> ILink | None:
        """The link of that topic, where there is one."""

    def found(addresses: Iterable[FoundAddress]) -> int:
        """Pass on addresses that the peer told of; core bounds and filters them. Returns how many were taken."""

    def fact(fact: Fact) -> None:
        """Report something observed. May close the session, by the fact's floor or a scorer's verdict."""

    def useful(kind: str) -> None:
        """Count that the peer was the first to bring something new (`block`, `item`).

        Eviction and scorers look at it.
        """

    def close(reason: str, evidence: str = "") -> None:
        """End the session after what is queued has been sent, within a bounded time. `reason` is a stable word."""


class ILink(Interface):
    """One session and one topic, as a relay policy sees them."""

    id: SessionId = Attribute("The session's id.")
    topic: Topic = Attribute("The topic.")
    inbound: bool = Attribute("True where the peer dialled us.")
    netgroup: str = Attribute("The peer's netgroup.")
    verbs: frozenset[str] = Attribute("What this link offers: of announce, request, deliver, push, graft, prune.")
    urgent: bool = Attribute("True where the topic's items are to be told of at once (blocks), never trickled.")
    writable: bool = Attribute("False while the peer does not read: hold back what can wait.")
    score: Score | None = Attribute("The first scorer's latest score, with its parts; None before the first sample.")

    def announce(items: Sequence[Item]) -> None:
        """Tell that we have these, by id."""

    def request(ids: Sequence[ItemId]) -> None:
        """Ask for these. Only core's scheduler calls it."""

    def deliver(item: Item) -> None:
        """Give an item that was asked for."""

    def push(item: Item) -> None:
        """Give an item unasked. Only where `push` is among the verbs."""

    def graft() -> None:
        """Ask to be sent items in full from now on. Only where `graft` is among the verbs."""

    def prune() -> None:
        """Ask for ids only from now on. Only where `prune` is among the verbs."""
