"""The `dns-seed-server` application: calls on the peers of a network, and answers with those that keep answering.

    applications:
      - {plugin: dns-seed-server, network: bitcoin, zone: seed.example.org, nameserver: ns.example.org,
         contact: me@example.org, listen: ["192.0.2.53:53"]}

Addresses come from the network's book and from the peers that are visited. Where one came from proves nothing; that its
handshakes succeed over `proven_for` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.task import LoopingCall
from zope.interface import implementer

from p2pframe.applications.dns_seed_server.config import DnsSeedServerConfig
from p2pframe.applications.dns_seed_server.limits import ResponseRates
from p2pframe.applications.dns_seed_server.sockets import Answering, Connections, Datagrams
from p2pframe.applications.dns_seed_server.watched import Watched, WatchList
from p2pframe.applications.dns_seed_server.zone import Zone
from p2pframe.errors import PluginError, StartError, VisitRefused
from p2pframe.interfaces import (
    IAddressBook,
    IApplication,
    IContext,
    INetworkProtocol,
    INodeControl,
    INodeView,
    IReconfigurable,
    ISeedNames,
    Visit,
)
from p2pframe.model import PeerAddress
from p2pframe.plugin import plugin

_SAMPLE = 1000
"""Addresses drawn from the book at once."""
_LATE = 5.0
"""Seconds that a visit may overrun its own limit."""


@plugin("dns-seed-server", config=DnsSeedServerConfig)
@implementer(IApplication, IReconfigurable)
class DnsSeedServer:
    """Answers as a DNS seed with the peers of a network that keep answering."""

    name = "dns-seed-server"

    def __init__(self, config: DnsSeedServerConfig, context: IContext) -> None:
        self.config = config
        self.context = context
        self._book = context.service(IAddressBook, config.network)
        self._protocol = context.service(INetworkProtocol, config.network)
        self._control = context.service(INodeControl)
        self._view = context.service(INodeView)
        metrics = context.metrics
        self._queries = metrics.counter(
            "dns_seed_server_queries_total", "Questions, and TCP connections turned away.", ["transport", "outcome"]
        )
        self._visits = metrics.counter("dns_seed_server_visits_total", "Visits by how they ended.", ["outcome"])
        self._turned_away = metrics.counter(
            "dns_seed_server_turned_away_total", "Addresses that are not watched, by why.", ["reason"]
        )
        self._forgotten = metrics.counter(
            "dns_seed_server_prefixes_forgotten_total", "Networks of askers that were forgotten for others."
        )
        self._gauge = metrics.gauge("dns_seed_server_addresses", "Addresses by how far they are.", ["state"])
        self._watch = WatchList(config, context.rng, lambda reason: self._turned_away.add(1, reason))
        self._rates = ResponseRates(config, self._forgotten.add, context.reactor.seconds())
        self._zone = Zone(config, context.rng, self._proven, lambda: self._protocol.default_port, context.unix_time)
        self._answering = Answering(
            config, self._zone, self._rates, lambda transport, outcome: self._queries.add(1, transport, outcome)
        )
        self._connections = Connections(self._answering, context.reactor)
        self._ports: list[Any] = []
        self._visiting: dict[PeerAddress, Deferred[None]] = {}
        self._sampled = 0.0
        self._loop = LoopingCall(self._look)
        self._loop.clock = context.reactor
        self._stopped = False

    @property
    def addresses(self) -> list[str]:
        """Where it answers, once it has started."""
        return [f"{port.getHost().host}:{port.getHost().port}" for port in self._ports[::2]]

    def start(self) -> Deferred[None]:
        """See `IApplication.start`. Fails with `StartError` where the network would ask this very zone for peers."""
        return Deferred.fromCoroutine(self._start())

    def stop(self) -> Deferred[None]:
        """See `IApplication.stop`."""
        self._stopped = True
        if self._loop.running:
            self._loop.stop()
        for visit in list(self._visiting.values()):
            visit.cancel()
        return Deferred.fromCoroutine(self._close())

    def reconfigure(self, config: object) -> None:
        """See `IReconfigurable.reconfigure`."""
        new = cast(DnsSeedServerConfig, config)
        self.config = new
        for part in (self._watch, self._rates, self._zone, self._answering):
            part.config = new
        if self._loop.running and self._loop.interval != new.pace:
            self._loop.stop()
            self._loop.start(new.pace, now=False)

    async def _start(self) -> None:
        self._refuse_own_answers()
        await self._load()
        for address in self.config.listen:
            self._listen(address)
        self._loop.start(self.config.pace, now=False)
        self.context.log.info(
            "DNS seed for {zone} on {addresses}: {count} addresses under watch",
            zone=self.config.zone, addresses=", ".join(self.addresses), count=len(self._watch),
        )  # fmt: skip

    def _listen(self, address: PeerAddress) -> None:
        reactor = self.context.reactor
        try:
            udp = reactor.listenUDP(address.port, Datagrams(self._answering, reactor), address.host, 4096)
            self._ports.append(udp)
            port = cast(Any, udp.getHost()).port
            self._ports.append(reactor.listenTCP(port, cast(Any, self._connections), interface=address.host))
        except CannotListenError as error:
            for bound in self._ports:
                bound.stopListening()
            self._ports = []
            raise StartError(
                f"dns-seed-server can't listen on {address}: {error}; is another DNS server there, or the right to "
                "take a port below 1024 missing?"
            ) from None

    async def _close(self) -> None:
        ports, self._ports = self._ports, []
        self._connections.close()
        for port in ports:
            await _done(port.stopListening())

    def _refuse_own_answers(self) -> None:
        """A seed that asks itself would keep alive whatever was once in its answers."""
        for seed in self._seeds():
            if f".{seed.lower().rstrip('.')}".endswith(f".{self.config.zone}"):
                raise StartError(
                    f"network {self.config.network!r} asks the DNS seed {seed}, which this node answers for itself: "
                    "leave it out of the seeds of its dns-seed discovery"
                )

    def _seeds(self) -> Iterable[str]:
        networks = cast(Mapping[str, Any], self._view.config().get("networks", {}))
        discovery = cast(Mapping[str, Any], networks.get(self.config.network, {})).get("discovery") or ()
        for choice in discovery:
            if choice.get("plugin") == "dns-seed":
                yield from choice.get("seeds") or self._known_seeds()

    def _known_seeds(self) -> Sequence[str]:
        try:
            return self.context.service(ISeedNames, self.config.network).seed_names()
        except PluginError:
            return ()

    async def _load(self) -> None:
        bad = []
        for key, row in await self.context.storage.scan():
            try:
                entry = Watched.from_row(key, row)
            except (ValueError, TypeError):
                bad.append(key)
                continue
            if not self._watch.put(entry):
                bad.append(key)
        if bad:
            self.context.log.warn("{count} stored addresses are no use any more and are dropped", count=len(bad))
            await self.context.storage.write(deletes=bad)

    def _look(self) -> None:
        """Take new addresses in where it is time for that, and call on whom it is due."""
        now = self.context.unix_time()
        if not 0 <= now - self._sampled < self.config.sample_every:
            self._sampled = now
            for found in self._book.sample(_SAMPLE):
                self._watch_new(found.address, now)
            self._gauge.set(len(self._watch), "watched")
            self._gauge.set(len(self._watch.proven(now)), "proven")
        while len(self._visiting) < self.config.visits:
            entry = self._watch.take_due(now)
            if entry is None:
                return
            self._visit(entry, now)

    def _watch_new(self, address: PeerAddress, now: float) -> None:
        if address.kind == "ip" and not address.port:
            address = PeerAddress(address.host, self._protocol.default_port)
        self._watch.add(address, now)

    def _visit(self, entry: Watched, now: float) -> None:
        config = self.config
        peers = config.ask if now - entry.asked >= config.ask_every else 0
        visit = self._control.visit(config.network, entry.address, peers=peers, wait=config.visit_time)
        visit.addTimeout(config.visit_time + _LATE, self.context.reactor)
        # Held before its callbacks are there: one that has fired already takes itself out again.
        self._visiting[entry.address] = done = visit.addCallbacks(
            lambda told: self._answered(entry, told, peers), lambda failure: self._silent(entry, failure)
        )
        if done.called and not getattr(done, "paused", 0):
            self._visiting.pop(entry.address, None)

    def _answered(self, entry: Watched, visit: Visit, peers: int) -> None:
        self._visiting.pop(entry.address, None)
        now = self.context.unix_time()
        services = 0
        for name, bit in self.config.services.items():
            if name in visit.services:
                services |= 1 << bit
        self._watch.succeeded(entry, services, now)
        if peers:
            entry.asked = now
            for found in visit.peers[:peers]:
                self._watch_new(found.address, now)
            if len(visit.peers) > peers:
                self._turned_away.add(len(visit.peers) - peers, "more than asked for")
        self._visits.add(1, "answered")
        self._store([(str(entry.address).encode(), entry.row())], ())

    def _silent(self, entry: Watched, failure: Any) -> None:
        self._visiting.pop(entry.address, None)
        if self._stopped and failure.check(CancelledError):
            return
        if failure.check(VisitRefused):
            self._visits.add(1, "refused")
            self._watch.not_called(entry, self.context.unix_time())
            return
        self._visits.add(1, "failed")
        key = str(entry.address).encode()
        known = bool(entry.since)
        if self._watch.failed(entry, self.context.unix_time()):
            self._store([(key, entry.row())], ())
        elif known:
            self._store((), [key])
        self.context.log.debug(
            "{address} did not answer: {why}", address=str(entry.address), why=failure.getErrorMessage()[:200]
        )

    def _store(self, puts: Sequence[tuple[bytes, bytes]], deletes: Sequence[bytes]) -> None:
        self.context.storage.write(puts, deletes).addErrback(
            lambda failure: self.context.log.warn("not stored: {why}", why=failure.getErrorMessage())
        )

    def _proven(self) -> Sequence[Watched]:
        return self._watch.proven(self.context.unix_time())


def _done(result: Deferred[Any] | None) -> Deferred[Any]:
    return result if isinstance(result, Deferred) else succeed(None)
