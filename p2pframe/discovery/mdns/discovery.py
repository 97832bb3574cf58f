"""`mdns`: peers on the same link, without a server (RFC 6762, 6763).

    networks:
      chat:
        discovery: [{plugin: mdns}]

The node's place is announced as an instance of a service, and others of that service are looked for, on each interface
by itself: nothing heard on one is told on another. What is found is only believed as far as it points at addresses of
the link: nobody is sent to strangers elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Interface, IPv6Interface, ip_address
from itertools import zip_longest
from typing import cast

from twisted.internet.defer import CancelledError, Deferred, gatherResults, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface import implementer

from p2pframe.discovery.mdns.browser import Browser, Instance
from p2pframe.discovery.mdns.claim import Claim
from p2pframe.discovery.mdns.config import MdnsConfig
from p2pframe.discovery.mdns.link import Link
from p2pframe.discovery.mdns.responder import Responder
from p2pframe.discovery.mdns.service import Service, service_name
from p2pframe.discovery.mdns.wire import Message, Name, Record
from p2pframe.errors import P2PFrameError
from p2pframe.interfaces import DiscoveryState, IContext, IDiscovery, IReconfigurable
from p2pframe.model import FoundAddress, NetworkInterface, PeerAddress
from p2pframe.plugin import plugin

_ANY = ("0.0.0.0", "::")


class _Side:
    """All there is for one link."""

    __slots__ = ("browser", "link", "responder")

    def __init__(self, link: Link, browser: Browser, responder: Responder) -> None:
        self.link = link
        self.browser = browser
        self.responder = responder


@plugin("mdns", config=MdnsConfig)
@implementer(IDiscovery, IReconfigurable)
class MdnsDiscovery:
    """Announces this node on the local network by multicast DNS, and finds others there."""

    name = "mdns"
    manual = False

    def __init__(self, config: MdnsConfig, context: IContext) -> None:
        self.config = config
        self.context = context
        self._kind: Name = service_name(config.service)
        self._sides: dict[tuple[int, int], _Side] = {}
        """By the interface's number and the version of IP."""
        self._refused: dict[tuple[int, int], NetworkInterface] = {}
        """Interfaces that could not be opened, as they were then: said once."""
        self._service: Service | None = None
        self._claim: Claim | None = None
        self._bound: Sequence[PeerAddress] = ()
        self._opening: Deferred[None] | None = None
        self._announced: Deferred[None] | None = None
        self._rescan: IDelayedCall | None = None
        self._fresh = True
        self._browsing = False
        left_out = context.metrics.counter(
            "mdns_left_out_total", "What was not looked at, kept or answered, by the reason.", ["reason"]
        )
        self._left_out: Callable[[str], None] = lambda reason: left_out.add(1, reason)
        self._conflicts = context.metrics.counter("mdns_conflicts_total", "Names that somebody else had.")

    # --- IDiscovery ---

    def due(self, state: DiscoveryState) -> bool:
        """See `IDiscovery.due`: at once where somebody has come."""
        return state.last_run is None or (self._fresh and self._browsing) or state.last_run >= self.config.interval

    def find(self, limit: int) -> Deferred[Sequence[FoundAddress]]:
        """See `IDiscovery.find`: those who are known by now; the first look waits for answers."""
        return Deferred.fromCoroutine(self._find(limit))

    def announce(self, addresses: Sequence[PeerAddress]) -> Deferred[None]:
        """See `IDiscovery.announce`: fires when the name is ours, by about a second."""
        self._retire()
        self._bound = addresses
        port = self.config.announced_port or (addresses[0].port if addresses else None)
        if not self.config.announce or port is None:
            return succeed(None)
        number = self.context.entropy.integer(32)
        label = self.config.instance or f"p2pframe-{number:08x}"
        self._service = Service(self._kind, label, f"p2pframe-{number:08x}", port, [f"network={self.context.network}"])
        return Deferred.fromCoroutine(self._announce(self._service))

    def withdraw(self) -> Deferred[None]:
        """See `IDiscovery.withdraw`: all who listen are told that it is no more."""
        if self._rescan is not None and self._rescan.active():
            self._rescan.cancel()
        self._rescan = None
        self._browsing = False
        if self._opening is not None:
            self._opening.cancel()
        self._retire()
        sides, self._sides = self._sides, {}
        for side in sides.values():
            side.browser.stop()
            side.responder.stop()
        return gatherResults([side.link.close() for side in sides.values()]).addCallback(lambda _: None)

    def reconfigure(self, config: object) -> None:
        """See `IReconfigurable.reconfigure`."""
        self.config = cast(MdnsConfig, config)

    # --- finding ---

    async def _find(self, limit: int) -> Sequence[FoundAddress]:
        await self._open()
        if not self._browsing:
            self._browsing = True
            for side in self._sides.values():
                side.browser.begin()
            await deferLater(self.context.reactor, self.config.patience)
        self._fresh = False
        near = [
            self._near(side, instance)
            for side in self._sides.values()
            for instance in side.browser.found()
            if not self._is_own(instance) and self._is_of_our_network(instance)
        ]
        # One of each before a second of any: who has many does not crowd out who has one.
        found = dict.fromkeys(one for turn in zip_longest(*near) for one in turn if one is not None)
        for _ in range(limit, len(found)):
            self._left_out("limit")
        return [FoundAddress(address) for address in found][:limit]

    def _near(self, side: _Side, instance: Instance) -> list[PeerAddress]:
        near = [host for host in instance.hosts if self._is_near(side, host)]
        for _ in range(len(near), len(instance.hosts)):
            self._left_out("elsewhere")
        return [PeerAddress.of(host, instance.port) for host in near]

    def _is_own(self, instance: Instance) -> bool:
        return self._service is not None and instance.label.lower() == self._service.label.lower()

    def _is_of_our_network(self, instance: Instance) -> bool:
        network = instance.texts.get("network")
        if network is None or network == self.context.network or self.config.any_network:
            return True
        self._left_out("another network")
        return False

    def _is_near(self, side: _Side, host: str) -> bool:
        """Addresses of the link only; and none that is good with an interface's name only, which others have not."""
        address = ip_address(host)
        if address.version == 6 and address.is_link_local:
            return False
        return any(
            address in one.network and not _is_of_all(host, one)
            for one in side.link.interface.addresses
            if one.version == address.version
        )

    def _news(self) -> None:
        self._fresh = True

    # --- links ---

    def _wanted(self) -> dict[tuple[int, int], NetworkInterface]:
        config = self.config
        versions = [version for version, wanted in ((4, config.ipv4), (6, config.ipv6)) if wanted]
        return {
            (one.index, version): one
            for one in self.context.interfaces()
            if (one.name in config.interfaces if config.interfaces else any(map(_is_of_use, one.addresses)))
            for version in versions
            if any(a.version == version for a in one.addresses)
        }

    async def _open(self) -> None:
        """Have a socket on each interface. Raises `P2PFrameError` where there is none at all."""
        if self._opening is not None:
            await _after(self._opening)
        if self._rescan is None:
            self._opening = opening = Deferred.fromCoroutine(self._scan())
            try:
                await opening
            finally:
                self._opening = None
            self._scan_later()
        if not self._sides:
            named = ", ".join(self.config.interfaces) or "any interface with an address, but the loopback"
            raise P2PFrameError(f"there is no network interface to speak multicast DNS on: looked for {named}")

    async def _scan(self) -> None:
        """Open what has come, close what is gone or has other addresses now."""
        wanted = self._wanted()
        for which in [which for which, side in self._sides.items() if wanted.get(which) != side.link.interface]:
            side = self._sides.pop(which)
            side.browser.stop()
            side.responder.stop()
            await side.link.close()
        self._refused = {which: one for which, one in self._refused.items() if wanted.get(which) == one}
        opened = False
        for (index, version), interface in wanted.items():
            if (index, version) not in self._sides:
                opened |= await self._open_link(interface, version)
        if opened and self._claim is not None:
            # On the new link somebody may have the names.
            self._claim.begin()

    def _scan_later(self) -> None:
        self._rescan = self.context.reactor.callLater(self.config.rescan, self._scan_again)

    def _scan_again(self) -> None:
        self._opening = opening = Deferred.fromCoroutine(self._scan())

        def done(result: object) -> None:
            self._opening = None
            if isinstance(result, Failure):
                if result.check(CancelledError):
                    return
                self.context.log.warn(
                    "looking at the network interfaces failed, and goes on: {error}", error=result.getErrorMessage()
                )
            self._scan_later()

        opening.addBoth(done)

    async def _open_link(self, interface: NetworkInterface, version: int) -> bool:
        which = interface.index, version
        link = Link(self.context, interface, version, self._heard, self._left_out, self._rates)
        try:
            await link.open()
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever an interface can't do: the others can
            if self._refused.get(which) != interface:
                self._refused[which] = interface
                self.context.log.warn("no multicast on {link}: {error}", link=link.label, error=str(error))
            return False
        reactor, rng = self.context.reactor, self.context.rng
        browser = Browser(
            self._kind, reactor, rng, link.send, self._news, self._left_out,
            lambda: (self.config.instances, self.config.per_source),
        )  # fmt: skip
        responder = Responder(
            lambda: self._service if self._claim is not None and self._claim.established else None,
            lambda: self._addresses(interface), reactor, rng, link.send, self._left_out,
        )  # fmt: skip
        self._sides[which] = _Side(link, browser, responder)
        if self._browsing:
            browser.begin()
        return True

    def _rates(self) -> tuple[int, int]:
        return self.config.rate, self.config.rate_of_all

    def _addresses(self, interface: NetworkInterface) -> list[str]:
        """Where we are reached on an interface; that of another is nobody's business there."""
        own = [str(one.ip) for one in interface.addresses]
        places = {host for address in self._bound if (host := address.host)}
        any4, any6 = (host in places for host in _ANY)
        # Who listens at :: is reached over IPv4 too, on the systems that we run on.
        return [host for host in own if host in places or any6 or (any4 and ":" not in host)]

    def _heard(self, link: Link, message: Message, source: tuple[str, int]) -> None:
        side = self._sides.get((link.interface.index, link.version))
        if side is None or side.link is not link:
            return
        # Where we have nothing to announce nobody has a say about our names.
        addresses = self._addresses(link.interface)
        claim = self._claim if addresses else None
        if not message.response:
            if message.authorities and claim is not None:
                claim.heard_probe(message, addresses)
            side.responder.asked(message, source)
            return
        records = (*message.answers, *message.additional)
        if claim is not None:
            claim.heard(records)
        side.responder.heard(records)
        side.browser.heard(records, source[0])

    # --- announcing ---

    async def _announce(self, service: Service) -> None:
        await self._open()
        if self._service is not service:
            return
        announced: Deferred[None] = Deferred()
        self._announced = announced

        def taken() -> None:
            if not announced.called:
                announced.callback(None)

        self._claim = Claim(
            service, self.context.reactor, self.context.rng, self._probe, self._announce_all, self._records, taken,
            self._renamed,
        )  # fmt: skip
        self._claim.begin()
        try:
            await announced
        finally:
            self._announced = None
        self.context.log.info(
            "announced as {instance} of {service} on {links}",
            instance=service.label,
            service=self.config.service,
            links=", ".join(side.link.label for side in self._sides.values() if self._addresses(side.link.interface))
            or "no link",
        )

    def _retire(self) -> None:
        """What was announced is no more."""
        claim, service = self._claim, self._service
        self._claim = self._service = None
        if claim is not None and service is not None:
            for side in self._sides.values() if claim.announced else ():
                side.responder.goodbye(service)
            claim.stop()
        if self._announced is not None:
            self._announced.cancel()

    def _probe(self, made: Callable[[Sequence[str]], Message]) -> None:
        for side in self._sides.values():
            addresses = self._addresses(side.link.interface)
            if addresses:
                side.link.send(made(addresses))

    def _announce_all(self) -> None:
        for side in self._sides.values():
            side.responder.announce()

    def _records(self) -> list[Record]:
        if self._service is None:
            return []
        everywhere = [host for side in self._sides.values() for host in self._addresses(side.link.interface)]
        return self._service.unique(list(dict.fromkeys(everywhere)))

    def _renamed(self, name: Name) -> None:
        self._conflicts.add()
        assert self._service is not None
        self.context.log.warn(
            "somebody on the link has the name {name}: announced as {instance}, host {host}",
            name=b".".join(name).decode("utf-8", "replace"),
            instance=self._service.label,
            host=self._service.host,
        )


def _is_of_all(host: str, own: IPv4Interface | IPv6Interface) -> bool:
    """Whether an address is that of a whole network: its first, and over IPv4 its last."""
    network = own.network
    if network.num_addresses <= 2:
        return False
    return host == str(network.network_address) or (own.version == 4 and host == str(network.broadcast_address))


def _after(opening: Deferred[None]) -> Deferred[None]:
    """Fires when another's Deferred has, whatever came of it."""
    waiting: Deferred[None] = Deferred()

    def done(result: Failure | None) -> Failure | None:
        if not waiting.called:
            waiting.callback(None)
        return result

    opening.addBoth(done)
    return waiting


def _is_of_use(address: IPv4Interface | IPv6Interface) -> bool:
    """Not the loopback; nor what each interface gives itself: the ends of containers come and go, and lead nowhere."""
    return not address.is_loopback and not (address.version == 6 and address.is_link_local)
