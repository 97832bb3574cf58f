"""A protocol without connections, in one file: who is there? A worked example of `INetworkProtocol` over datagrams.

    networks:
      presence:
        protocol: {plugin: beacon, name: alice}
        transports: [{plugin: udp, listen: "0.0.0.0:7778"}]
        discovery: [{plugin: peer-file, path: ./peers.txt}]

Every `interval` each node says to the addresses that it knows (some of them, where there are many) that it is here, and
who hears it says that it has seen it. All datagrams have the same 64 bytes:

    8 bytes   `p2pbeac1`
    1 byte    `H` I am here; `S` I have seen you
    8 bytes   nonce, chosen by who says H, given back with S
    47 bytes  the sender's name, UTF-8, filled up with zeros

What a protocol over datagrams has to mind, and how it is done here:

- a source may be forged. So a peer counts as present once it has given back a nonce that was sent to that very address;
  an H alone only gets its source into the address book, as hearsay;
- nobody may be used to flood another: an answer is as long as the question, and goes to where the question came from;
- what is not of ours is silence: no error, no log line, one counter;
- nothing grows with what strangers send: `most` bounds the table and the nonces, core's gate the rate, core's book the
  addresses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, cast

from pydantic import field_validator
from pydantic_core import PydanticCustomError
from twisted.application.service import Service
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from p2pframe.interfaces import (
    IAddressBook,
    IContext,
    IConversation,
    IDatagramPort,
    IDatagramReceiver,
    IItemStore,
    INetworkProtocol,
    IReconfigurable,
    ISession,
    IStatus,
    IValidator,
    TopicRules,
    Use,
)
from p2pframe.model import FoundAddress, PeerAddress, Topic
from p2pframe.plugin import Duration, Field, PluginConfig, live, plugin

MAGIC = b"p2pbeac1"
HERE, SEEN = b"H", b"S"
NAME = 47
LENGTH = len(MAGIC) + 1 + 8 + NAME


class BeaconConfig(PluginConfig):
    """Options of the `beacon` protocol."""

    name: str = Field(min_length=1, description="What others see of us: up to 47 bytes of UTF-8.")
    interval: Duration = Field(10.0, ge=0.1, description="How often peers are told that we are here.")
    fanout: int = live(100, ge=1, le=10_000, description="Addresses of the book told each time, at random.")
    most: int = live(
        1_000, ge=1, description="Peers that count as present at most; beyond it new ones are turned away."
    )
    missing: int = live(3, ge=1, description="A peer that was not heard of for so many intervals is gone.")

    @field_validator("name")
    @classmethod
    def _fits(cls, name: str) -> str:
        if len(name.encode()) > NAME or not name.isprintable():
            raise PydanticCustomError("beacon_name", "a name is printable and has at most 47 bytes of UTF-8")
        return name


class Present(NamedTuple):
    """A peer that is there: its name by its own word, the round trip and the time of its latest answer, in seconds."""

    name: str
    round_trip: float
    heard: float


class IPresence(Interface):
    """What an application may ask of a beacon network: `context.service(IPresence, network=...)`."""

    def present() -> Mapping[PeerAddress, Present]:
        """Who is there. `heard` is by the reactor's clock."""


class Datagram(NamedTuple):
    """One datagram, taken apart."""

    kind: bytes
    nonce: bytes
    name: str

    def encode(self) -> bytes:
        """As it travels."""
        return MAGIC + self.kind + self.nonce + self.name.encode().ljust(NAME, b"\0")

    @classmethod
    def decode(cls, data: bytes) -> Datagram | None:
        """None for what is not one of ours."""
        kind, nonce, text = data[8:9], data[9:17], data[17:]
        if len(data) != LENGTH or not data.startswith(MAGIC) or kind not in (HERE, SEEN):
            return None
        try:
            name = text.rstrip(b"\0").decode()
        except UnicodeDecodeError:
            return None
        return cls(kind, nonce, name) if name and name.isprintable() else None


@plugin("beacon", config=BeaconConfig)
@implementer(INetworkProtocol, IDatagramReceiver, IPresence, IStatus, IReconfigurable)
class BeaconProtocol(Service):
    """Tells peers that we are here, and knows which of them are."""

    seams: Mapping[str, Use] = {"transport": Use.REQUIRED, "discovery": Use.OPTIONAL}
    topics: Mapping[Topic, TopicRules] = {}
    verbs: frozenset[str] = frozenset()
    datagrams = True
    default_port = 7778

    def __init__(self, config: BeaconConfig, context: IContext) -> None:
        self.config = config
        self.context = context
        self._book = context.service(IAddressBook)
        self._ports: list[IDatagramPort] = []
        self._present: dict[PeerAddress, Present] = {}
        # The nonces of the latest round: to whom each was sent, and when. An answer that comes later than that is void.
        self._asked: dict[bytes, tuple[PeerAddress, float]] = {}
        self._ignored = context.metrics.counter(
            "beacon_ignored_total", "Datagrams that led to nothing, by why.", ["why"]
        )
        self._loop = LoopingCall(self._round)
        self._loop.clock = context.reactor

    def receiver(self, port: IDatagramPort) -> IDatagramReceiver:
        """Called once for each transport at start: the port is what we send with."""
        self._ports.append(port)
        return self

    def startService(self) -> None:
        """Called before the ports are open: the first round is an interval later."""
        super().startService()  # type: ignore[no-untyped-call]
        self._loop.start(self.config.interval, now=False).addErrback(self._failed)

    def stopService(self) -> None:
        """Called when the ports are closed."""
        if self._loop.running:
            self._loop.stop()
        super().stopService()  # type: ignore[no-untyped-call]

    def datagram_received(self, data: bytes, source: PeerAddress) -> None:
        """See `IDatagramReceiver`."""
        datagram = Datagram.decode(data)
        if datagram is None:
            self._ignored.add(1, "not ours")
        elif datagram.kind == HERE:
            self._here(datagram, source)
        else:
            self._seen(datagram, source)

    def awaited(self, data: bytes, source: PeerAddress) -> bool:
        """An answer with a nonce that was sent to this address: see `IDatagramReceiver.awaited`."""
        asked = self._asked.get(data[9:17])
        return asked is not None and asked[0] == source

    def _here(self, datagram: Datagram, source: PeerAddress) -> None:
        if datagram.nonce in self._asked:
            self._ignored.add(1, "our own")
            return
        self._send(Datagram(SEEN, datagram.nonce, self.config.name), source)
        # Hearsay about itself: in the book it is one of many, and is asked in its turn.
        self._book.add([FoundAddress(source, last_seen=self.context.unix_time())], source)

    def _seen(self, datagram: Datagram, source: PeerAddress) -> None:
        asked = self._asked.get(datagram.nonce)
        if asked is None or asked[0] != source:
            self._ignored.add(1, "not asked")
            return
        del self._asked[datagram.nonce]
        if source not in self._present and len(self._present) >= self.config.most:
            self._ignored.add(1, "table full")
            return
        now = self.context.reactor.seconds()
        self._present[source] = Present(datagram.name, now - asked[1], now)

    def _round(self) -> None:
        """Forget who was not heard of, and tell others that we are here.

        First those who are known to be, then some from the book.
        """
        now, config = self.context.reactor.seconds(), self.config
        silent = config.missing * config.interval
        self._present = {peer: seen for peer, seen in self._present.items() if now - seen.heard <= silent}
        self._asked.clear()
        targets = dict.fromkeys(self._present)
        targets.update(dict.fromkeys(found.address for found in self._book.sample(config.fanout)))
        for target in targets:
            nonce = self.context.entropy.bytes(8)
            self._asked[nonce] = (target, now)
            self._send(Datagram(HERE, nonce, config.name), target)

    def _send(self, datagram: Datagram, target: PeerAddress) -> None:
        six = ":" in target.host
        # A port of IPv6 may reach IPv4 too; one of IPv4 never reaches IPv6.
        ports = sorted(self._ports, key=lambda port: (":" in port.address.host) != six)
        if not ports or (six and ":" not in ports[0].address.host):
            self._ignored.add(1, "no way there")
        else:
            ports[0].send(datagram.encode(), target)

    def _failed(self, failure: Failure) -> None:
        self.context.log.failure("the beacon has stopped: restart its network", failure=failure)

    def present(self) -> Mapping[PeerAddress, Present]:
        """See `IPresence.present`."""
        return dict(self._present)

    def status(self) -> Mapping[str, str | int | float | bool]:
        """See `IStatus.status`."""
        return {"present": len(self._present)}

    def reconfigure(self, config: object) -> None:
        """See `IReconfigurable.reconfigure`."""
        self.config = cast(BeaconConfig, config)

    def dialable(self, address: PeerAddress) -> bool:
        """Addresses only: a name would have to be looked up for every datagram."""
        return address.kind == "ip"

    def stale(self) -> bool:
        """See `INetworkProtocol.stale`: nothing spreads here."""
        return False

    def stores(self) -> Mapping[Topic, IItemStore]:
        """See `INetworkProtocol.stores`: nothing spreads here."""
        return {}

    def validators(self) -> Mapping[Topic, IValidator]:
        """See `INetworkProtocol.validators`: nothing spreads here."""
        return {}

    def conversation(self, session: ISession) -> IConversation:
        """See `INetworkProtocol.conversation`: never called, as `datagrams` is True."""
        raise TypeError("the beacon speaks in datagrams: it has no conversations")
