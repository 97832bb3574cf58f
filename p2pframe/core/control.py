"""INodeView and INodeControl: what applications may see of a node, and ask of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from twisted.internet.defer import Deferred, DeferredLock, fail
from zope.interface import implementedBy, implementer

from p2pframe.config import diff, load
from p2pframe.config.setting import settings
from p2pframe.core.bans import NODE
from p2pframe.core.bounds import Bounds
from p2pframe.core.reconfiguring import apply, change
from p2pframe.errors import P2PFrameError
from p2pframe.interfaces import (
    AddressGroups,
    AddressView,
    BoundView,
    Event,
    INodeControl,
    INodeView,
    LogLine,
    NetworkView,
    PluginView,
    SessionStory,
    SettingView,
    Spread,
    Visit,
)
from p2pframe.model import PeerAddress, Penalty, SessionId, SessionSnapshot

if TYPE_CHECKING:
    from p2pframe.core.node import Node
    from p2pframe.core.session import Session

T = TypeVar("T")


@implementer(INodeView)
class View:
    """See `INodeView`."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._bounds = Bounds(node)

    def networks(self) -> Sequence[NetworkView]:
        """See `INodeView.networks`."""
        return [network.describe() for network in self._node.networks.values()]

    def sessions(self, network: str | None = None) -> Sequence[SessionSnapshot]:
        """See `INodeView.sessions`."""
        return [
            snapshot
            for name, one in self._node.networks.items()
            if network in (None, name)
            for snapshot in one.snapshots()
        ]

    def session(self, network: str, session: SessionId) -> SessionSnapshot | None:
        """See `INodeView.session`."""
        held = self._node.networks.get(network)
        live = held.sessions.get(session) if held is not None else None
        return live.snapshot() if live is not None else None

    def each_session(self, network: str) -> Iterator[SessionSnapshot]:
        """See `INodeView.each_session`."""
        held = self._node.networks.get(network)
        live = held.sessions if held is not None else {}
        return (one.snapshot() for one in list(live.values()) if one.id in live)

    def penalties(self, offset: int = 0, limit: int | None = None) -> Sequence[Penalty]:
        """See `INodeView.penalties`."""
        return self._node.bans.penalties(offset, limit)

    def events(self, after: int = 0, limit: int = 1000) -> Sequence[Event]:
        """See `INodeView.events`."""
        return self._node.events.since(after, limit)

    def latest(
        self,
        limit: int = 100,
        network: str | None = None,
        session: SessionId | None = None,
        kinds: Collection[str] | None = None,
        before: int | None = None,
    ) -> Sequence[Event]:
        """See `INodeView.latest`."""
        return self._node.events.latest(limit, network, session, kinds, before)

    def story(self, network: str, session: SessionId) -> SessionStory | None:
        """See `INodeView.story`."""
        held = self._node.networks.get(network)
        return held.story(session) if held is not None else None

    def spreads(self, network: str, limit: int = 100, topic: str | None = None) -> Sequence[Spread]:
        """See `INodeView.spreads`."""
        return self._node.networks[network].items.spreads.latest(limit, topic)

    def spread(self, network: str, topic: str, id: bytes) -> Spread | None:
        """See `INodeView.spread`."""
        return self._node.networks[network].items.spreads.one(topic, id)

    def addresses(
        self, network: str, offset: int = 0, limit: int = 100, source: str | None = None
    ) -> Sequence[AddressView]:
        """See `INodeView.addresses`."""
        return self._node.networks[network].book.views(offset, limit, source)

    def address_groups(self, network: str) -> AddressGroups:
        """See `INodeView.address_groups`."""
        return self._node.networks[network].address_groups()

    def numbers(self) -> Mapping[str, Mapping[tuple[str, ...], float]]:
        """See `INodeView.numbers`."""
        return self._node.metrics.snapshot()

    def exposition(self) -> bytes:
        """See `INodeView.exposition`."""
        return self._node.metrics.exposition()

    def config(self) -> Mapping[str, object]:
        """See `INodeView.config`."""
        return self._node.spec.effective

    def providers(self, interface: type[T]) -> Sequence[tuple[str, T]]:
        """See `INodeView.providers`."""
        return [
            (place.label, place.instance)
            for place in self._node.builder.built
            if implementedBy(place.choice.cls).isOrExtends(interface)
        ]

    def bounds(self) -> Sequence[BoundView]:
        """See `INodeView.bounds`."""
        return self._bounds.now()

    def plugins(self) -> Sequence[PluginView]:
        """See `INodeView.plugins`."""
        errors = self._node.metrics.snapshot().get("p2pframe_plugin_errors_total", {})
        return [
            PluginView(
                place.network, place.choice.label, place.choice.spec.summary, place.choice.origin,
                int(sum(count for key, count in errors.items() if key[:2] == (place.network, place.choice.label))),
            )
            for place in self._node.builder.built
        ]  # fmt: skip

    def settings(self) -> Sequence[SettingView]:
        """See `INodeView.settings`."""
        return settings(self._node.spec, self._node.changed)

    def changed(self) -> Mapping[str, str | int | float | bool | None]:
        """See `INodeView.changed`."""
        return dict(self._node.changed)

    def subscribe(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """See `INodeView.subscribe`."""
        return self._node.events.subscribe(callback)

    def logs(
        self, after: int = 0, limit: int = 1000, level: str = "debug", namespace: str = "", text: str = ""
    ) -> Sequence[LogLine]:
        """See `INodeView.logs`."""
        return self._node.log_lines.since(after, limit, level, namespace, text)

    def latest_logs(
        self, limit: int = 100, before: int | None = None, level: str = "debug", namespace: str = "", text: str = ""
    ) -> Sequence[LogLine]:
        """See `INodeView.latest_logs`."""
        return self._node.log_lines.latest(limit, before, level, namespace, text)

    def follow_log(self, callback: Callable[[LogLine], None]) -> Callable[[], None]:
        """See `INodeView.follow_log`."""
        return self._node.log_lines.subscribe(callback)


@implementer(INodeControl)
class Control:
    """See `INodeControl`."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._changing = DeferredLock()

    def connect(self, network: str, address: PeerAddress) -> Deferred[SessionId]:
        """See `INodeControl.connect`."""
        held = self._node.networks.get(network)
        if held is None:
            return fail(P2PFrameError(f"there is no network {network!r}"))
        return held.dialer.connect(address)

    def visit(self, network: str, address: PeerAddress, peers: int = 0, wait: float = 30.0) -> Deferred[Visit]:
        """See `INodeControl.visit`."""
        held = self._node.networks.get(network)
        if held is None:
            return fail(P2PFrameError(f"there is no network {network!r}"))
        return held.visits.visit(address, peers, wait)

    def disconnect(self, network: str, session: SessionId, reason: str = "asked to") -> bool:
        """See `INodeControl.disconnect`."""
        found = self._session(network, session)
        if found is None:
            return False
        found.close("asked-to", reason)
        return True

    def ban(self, subject: str, duration: float, reason: str, scope: str = NODE) -> Deferred[None]:
        """See `INodeControl.ban`."""
        if scope != NODE and scope not in self._node.networks:
            raise ValueError(f"there is no network {scope!r}; use {NODE!r} for all")
        banning = self._node.bans.ban(subject, scope, duration, "operator", reason)
        for name, network in self._node.networks.items():
            if scope in (NODE, name):
                network.end_penalised()
        self._node.events.emit(
            "peer.banned", "" if scope == NODE else scope, rule="operator", reason=reason, subject=subject
        )
        return banning.addCallback(lambda _: None)

    def unban(self, subject: str, scope: str = NODE) -> Deferred[bool]:
        """See `INodeControl.unban`."""
        return self._node.bans.lift(subject, scope)

    def protect(self, network: str, session: SessionId, protected: bool = True) -> bool:
        """See `INodeControl.protect`."""
        found = self._session(network, session)
        if found is None:
            return False
        found.protected = protected
        return True

    def tap(
        self, network: str, session: SessionId, callback: Callable[[str, bytes], None]
    ) -> Callable[[], None] | None:
        """See `INodeControl.tap`."""
        found = self._session(network, session)
        return found.tap(callback) if found is not None else None

    def reconfigure(self, path: str | Path) -> Deferred[Sequence[str]]:
        """See `INodeControl.reconfigure`."""

        async def run() -> Sequence[str]:
            new = load(Path(path))
            done = await apply(self._node, new, diff(self._node.spec, new))
            self._node.changed = {}
            return done

        # One after another: two at once would take the same network down twice.
        return self._changing.run(lambda: Deferred.fromCoroutine(run()))

    def change(
        self, values: Mapping[str, object], dry: bool = False, based_on: Mapping[str, object] | None = None
    ) -> Deferred[Sequence[str]]:
        """See `INodeControl.change`."""
        return self._changing.run(lambda: Deferred.fromCoroutine(change(self._node, values, dry, based_on)))

    def _session(self, network: str, session: SessionId) -> Session | None:
        held = self._node.networks.get(network)
        return held.sessions.get(session) if held is not None else None
