"""Stand-ins for what core provides, so that any plugin can be built by itself: they note what they are asked.

They keep the interfaces and do nothing: an address book that holds what is added, items that are all unknown, a node
without sessions. `check(cls, services={IFoo: mine})` puts others in their place.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from p2pframe.interfaces import (
    AddressGroups,
    AddressView,
    BoundView,
    Event,
    IAddressBook,
    IContext,
    IItems,
    INetworkProtocol,
    INodeControl,
    INodeView,
    IScheduler,
    ISession,
    LogLine,
    NetworkView,
    PluginView,
    SessionStory,
    SettingView,
    Spread,
    TopicRules,
    Use,
    Visit,
)
from p2pframe.model import (
    ACCEPTED,
    FoundAddress,
    Item,
    ItemId,
    PeerAddress,
    Penalty,
    SessionId,
    SessionSnapshot,
    Topic,
    Validation,
)


def stand_ins(context: IContext) -> Mapping[Any, object]:
    """A provider of each of core's services, for one world."""
    return {
        IAddressBook: StandInBook(),
        IItems: StandInItems(),
        IScheduler: StandInScheduler(),
        INodeView: StandInView(),
        INodeControl: StandInControl(),
        INetworkProtocol: StandInProtocol(),
    }


T = TypeVar("T")


@implementer(IAddressBook)
class StandInBook:
    """An address book without bounds; `sample` gives the first ones, in the order of their coming."""

    def __init__(self) -> None:
        self.held: dict[PeerAddress, FoundAddress] = {}

    @property
    def size(self) -> int:
        """How many it holds."""
        return len(self.held)

    def sample(self, maximum: int, percent: int = 100) -> Sequence[FoundAddress]:
        """The first ones."""
        return list(self.held.values())[: min(maximum, len(self.held) * percent // 100)]

    def add(self, found: Sequence[FoundAddress], source: PeerAddress | str) -> int:
        """Hold them all."""
        before = len(self.held)
        self.held.update({each.address: each for each in found})
        return len(self.held) - before

    def attempt(self, address: PeerAddress) -> None:
        """Nothing is kept of it."""

    def good(self, address: PeerAddress) -> None:
        """Nothing is kept of it."""


@implementer(IItems)
class StandInItems:
    """Items that are never known; `calls` holds what was told, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def announced(self, session: ISession, topic: Topic, ids: Sequence[ItemId]) -> None:
        """Noted."""
        self.calls.append(("announced", topic, tuple(ids)))

    def delivered(self, session: ISession, item: Item, requested: bool = True) -> None:
        """Noted."""
        self.calls.append(("delivered", item.topic, item.id, requested))

    def not_found(self, session: ISession, topic: Topic, ids: Sequence[ItemId]) -> None:
        """Noted."""
        self.calls.append(("not_found", topic, tuple(ids)))

    def publish(self, item: Item) -> Deferred[Validation]:
        """Noted, and accepted."""
        self.calls.append(("publish", item.topic, item.id))
        return succeed(ACCEPTED)

    def spread(self, item: Item, source: ISession | None = None) -> None:
        """Noted."""
        self.calls.append(("spread", item.topic, item.id))

    def known(self, topic: Topic, id: ItemId) -> bool:
        """Never."""
        return False

    def may_serve(self, session: ISession, topic: Topic, id: ItemId) -> bool:
        """Always."""
        return True

    def withdraw(self, topic: Topic, ids: Iterable[ItemId]) -> None:
        """Noted."""
        self.calls.append(("withdraw", topic, tuple(ids)))

    def subscribe(self, topic: Topic, callback: Callable[[Item, ISession | None], None]) -> Callable[[], None]:
        """Noted; nothing is ever called back."""
        self.calls.append(("subscribe", topic))
        return lambda: None


@implementer(IScheduler)
class StandInScheduler:
    """A scheduler that asks nobody; `calls` holds what was told, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def want(
        self,
        topic: Topic,
        id: ItemId,
        candidates: Sequence[SessionId],
        timeout: float | None = None,
        urgent: bool = False,
    ) -> None:
        """Noted."""
        self.calls.append(("want", topic, id, tuple(candidates)))

    def unwant(self, topic: Topic, id: ItemId) -> None:
        """Noted."""
        self.calls.append(("unwant", topic, id))

    def done(self, topic: Topic, id: ItemId) -> None:
        """Noted."""
        self.calls.append(("done", topic, id))

    def failed(self, topic: Topic, id: ItemId, session: SessionId) -> None:
        """Noted."""
        self.calls.append(("failed", topic, id, session))

    def in_flight(self, session: SessionId, topic: Topic) -> Sequence[ItemId]:
        """Nothing."""
        return []

    def on_exhausted(self, topic: Topic, callback: Callable[[ItemId], None]) -> None:
        """Noted; nothing is ever called back."""
        self.calls.append(("on_exhausted", topic))


@implementer(INodeView)
class StandInView:
    """A node with no network; `emit` sends an event to those who subscribed."""

    def __init__(self) -> None:
        self.subscribers: list[Callable[[Event], None]] = []

    def networks(self) -> Sequence[NetworkView]:
        """None."""
        return []

    def sessions(self, network: str | None = None) -> Sequence[SessionSnapshot]:
        """None."""
        return []

    def session(self, network: str, session: SessionId) -> SessionSnapshot | None:
        """None."""
        return None

    def each_session(self, network: str) -> Iterator[SessionSnapshot]:
        """None."""
        return iter(())

    def penalties(self, offset: int = 0, limit: int | None = None) -> Sequence[Penalty]:
        """None."""
        return []

    def events(self, after: int = 0, limit: int = 1000) -> Sequence[Event]:
        """None."""
        return []

    def latest(
        self,
        limit: int = 100,
        network: str | None = None,
        session: SessionId | None = None,
        kinds: Collection[str] | None = None,
        before: int | None = None,
    ) -> Sequence[Event]:
        """None."""
        return []

    def story(self, network: str, session: SessionId) -> SessionStory | None:
        """None."""
        return None

    def spreads(self, network: str, limit: int = 100, topic: str | None = None) -> Sequence[Spread]:
        """None."""
        return []

    def spread(self, network: str, topic: str, id: bytes) -> Spread | None:
        """None."""
        return None

    def addresses(
        self, network: str, offset: int = 0, limit: int = 100, source: str | None = None
    ) -> Sequence[AddressView]:
        """None."""
        return []

    def address_groups(self, network: str) -> AddressGroups:
        """None."""
        return AddressGroups()

    def providers(self, interface: type[T]) -> Sequence[tuple[str, T]]:
        """None."""
        return []

    def bounds(self) -> Sequence[BoundView]:
        """None."""
        return []

    def plugins(self) -> Sequence[PluginView]:
        """None."""
        return []

    def settings(self) -> Sequence[SettingView]:
        """None."""
        return []

    def changed(self) -> Mapping[str, str | int | float | bool | None]:
        """Nothing."""
        return {}

    def numbers(self) -> Mapping[str, Mapping[tuple[str, ...], float]]:
        """None."""
        return {}

    def exposition(self) -> bytes:
        """Nothing was counted."""
        return b""

    def config(self) -> Mapping[str, object]:
        """Empty."""
        return {}

    def subscribe(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Kept, until what is returned is called."""
        self.subscribers.append(callback)
        return lambda: self.subscribers.remove(callback)

    def logs(
        self, after: int = 0, limit: int = 1000, level: str = "debug", namespace: str = "", text: str = ""
    ) -> Sequence[LogLine]:
        """None."""
        return []

    def latest_logs(
        self, limit: int = 100, before: int | None = None, level: str = "debug", namespace: str = "", text: str = ""
    ) -> Sequence[LogLine]:
        """None."""
        return []

    def follow_log(self, callback: Callable[[LogLine], None]) -> Callable[[], None]:
        """Nothing is ever called back."""
        return lambda: None

    def emit(self, event: Event) -> None:
        """Call every subscriber back."""
        for callback in list(self.subscribers):
            callback(event)


@implementer(INodeControl)
class StandInControl:
    """A node that does what it is asked, and nothing comes of it; `calls` holds what was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def connect(self, network: str, address: PeerAddress) -> Deferred[SessionId]:
        """Noted."""
        self.calls.append(("connect", network, address))
        return succeed(SessionId(len(self.calls)))

    def visit(self, network: str, address: PeerAddress, peers: int = 0, wait: float = 30.0) -> Deferred[Visit]:
        """Noted: somebody is there, and knows nobody."""
        self.calls.append(("visit", network, address, peers))
        return succeed(Visit(address, agent="/stand-in:1/", version=1, round_trip=0.1))

    def disconnect(self, network: str, session: SessionId, reason: str = "asked to") -> bool:
        """Noted."""
        self.calls.append(("disconnect", network, session))
        return False

    def ban(self, subject: str, duration: float, reason: str, scope: str = "node") -> Deferred[None]:
        """Noted."""
        self.calls.append(("ban", subject, duration, reason, scope))
        return succeed(None)

    def unban(self, subject: str, scope: str = "node") -> Deferred[bool]:
        """Noted."""
        self.calls.append(("unban", subject, scope))
        return succeed(False)

    def protect(self, network: str, session: SessionId, protected: bool = True) -> bool:
        """Noted."""
        self.calls.append(("protect", network, session, protected))
        return False

    def tap(
        self, network: str, session: SessionId, callback: Callable[[str, bytes], None]
    ) -> Callable[[], None] | None:
        """Noted: there is no such session."""
        self.calls.append(("tap", network, session))
        return None

    def reconfigure(self, path: str | Path) -> Deferred[Sequence[str]]:
        """Noted."""
        self.calls.append(("reconfigure", str(path)))
        return succeed([])

    def change(
        self, values: Mapping[str, object], dry: bool = False, based_on: Mapping[str, object] | None = None
    ) -> Deferred[Sequence[str]]:
        """Noted."""
        self.calls.append(("change", dict(values), dry))
        return succeed([])


@implementer(INetworkProtocol)
class StandInProtocol:
    """A protocol of one topic, `item`, that has no wire: for plugins that ask what a network's protocol is like."""

    seams: Mapping[str, Use] = {}
    topics: Mapping[Topic, TopicRules] = {Topic("item"): TopicRules(), Topic("block"): TopicRules(urgent=True)}
    verbs = frozenset({"announce", "request", "deliver", "push"})
    datagrams = False
    default_port = 18444

    def conversation(self, session: ISession) -> Any:
        """None can be had."""
        raise TypeError("the stand-in protocol has no conversations")

    def receiver(self, port: Any) -> Any:
        """None can be had."""
        raise TypeError("the stand-in protocol takes no datagrams")

    def dialable(self, address: PeerAddress) -> bool:
        """Everything."""
        return True

    def stores(self) -> Mapping[Topic, Any]:
        """None."""
        return {}

    def validators(self) -> Mapping[Topic, Any]:
        """None."""
        return {}

    def stale(self) -> bool:
        """Never."""
        return False
