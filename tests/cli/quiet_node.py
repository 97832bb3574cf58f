"""A node that does next to nothing, as a plugin file: it listens, and its storage starts well, late, or not at all."""

from __future__ import annotations

from typing import Literal

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Protocol
from zope.interface import implementer

from p2pframe.errors import StartError
from p2pframe.interfaces import IApplication, INetworkProtocol, IReconfigurable, IStorage, ITransport, Listener, Use
from p2pframe.model import TransportInfo
from p2pframe.plugin import Address, Duration, Field, PluginConfig, live, plugin


class TcpConfig(PluginConfig):
    listen: tuple[Address, ...] = Field((), description="Where.")


@plugin("quiet-tcp", config=TcpConfig)
@implementer(ITransport)
class Tcp:
    """Listens."""

    name = "tcp"

    def __init__(self, config, context):
        self.config = config
        self.context = context

    def can_dial(self, address):
        return False

    def dial(self, address, peer_id):
        raise NotImplementedError

    def listeners(self):
        return [
            Listener(TCP4ServerEndpoint(self.context.reactor, a.port, interface=a.host), str(a))
            for a in self.config.listen
        ]

    def prove(self, wire):
        return TransportInfo()


@plugin("quiet")
@implementer(INetworkProtocol)
class Quiet:
    """Says nothing."""

    seams = {"transport": Use.REQUIRED}
    topics = {}
    verbs = frozenset()
    datagrams = False
    default_port = 1

    def __init__(self, config, context):
        pass

    def conversation(self, session):
        return Protocol()

    def receiver(self, port):
        raise NotImplementedError

    def dialable(self, address):
        return True

    def stores(self):
        return {}

    def validators(self):
        return {}

    def stale(self):
        return False


class Namespace:
    """Holds nothing."""

    def get(self, key):
        return succeed(None)

    def scan(self, start=b"", end=None, limit=None):
        return succeed([])

    def write(self, puts=(), deletes=(), durable=False):
        return succeed(None)

    def blob(self, name):
        raise NotImplementedError

    def blobs(self):
        return []

    def delete_blob(self, name):
        return succeed(None)

    def flush(self):
        return succeed(None)


class StorageConfig(PluginConfig):
    start: Literal["well", "late", "failing", "failing-late", "never"] = Field("well", description="How it starts.")


@plugin("quiet-storage", config=StorageConfig)
@implementer(IStorage)
class Storage:
    """Starts as it is told."""

    def __init__(self, config, context):
        self.config = config
        self.context = context

    def start(self):
        how = self.config.start
        if how == "failing":
            return fail(StartError("the storage is of a newer schema: upgrade p2pframe"))
        done = Deferred()
        if how == "well":
            done.callback(None)
        elif how == "late":
            self.context.reactor.callLater(0.2, done.callback, None)
        elif how == "failing-late":
            self.context.reactor.callLater(0.2, done.errback, StartError("the storage is corrupt: restore a backup"))
        return done

    def stop(self):
        return succeed(None)

    def namespace(self, network, owner):
        return Namespace()


class ChattyConfig(PluginConfig):
    every: Duration = live(3600.0, description="How often to log.")
    lines: int = Field(0, description="Lines at once.")
    secret: str = Field("", description="A secret.")


@plugin("chatty", config=ChattyConfig)
@implementer(IApplication, IReconfigurable)
class Chatty:
    """Logs."""

    name = "chatty"

    def __init__(self, config, context):
        self.config = config
        self.context = context

    def start(self):
        for number in range(self.config.lines):
            self.context.log.info("line {number}", number=number)

    def stop(self):
        self.context.log.info("chatty says goodbye")

    def reconfigure(self, config):
        self.config = config
        self.context.log.info("chatty is told {every}", every=config.every)
