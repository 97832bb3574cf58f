"""The gate between TLS and core's protocol: no byte passes, either way, until the peer is proven."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL, crypto
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import (
    IAddress,
    IHandshakeListener,
    IListeningPort,
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)
from twisted.internet.interfaces import ITransport as IWire
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from p2pframe.endpoints import set_tcp_options
from p2pframe.errors import HandshakeFailed
from p2pframe.model import TransportInfo
from p2pframe.transports.tls.identity import is_ip

if TYPE_CHECKING:
    from p2pframe.transports.tls.transport import TlsTransport


class Expected(NamedTuple):
    """Who must be at the other end of a connection: each group of pins must contain its id, and the name must fit."""

    name: str | None = None
    pins: tuple[tuple[bytes, ...], ...] = ()


def verify_callback(connection: SSL.Connection, x509_: crypto.X509, number: int, depth: int, ok: int) -> bool:
    """Called by OpenSSL for each certificate of a chain: the peer's own is judged by us, the rest by `_check_chain`."""
    if depth > 0:
        return True
    gate = cast(Gate, cast(BufferingTLSTransport, connection.get_app_data()).wrappedProtocol)
    return gate.glance(x509_.to_cryptography())


@implementer(IHandshakeListener, IWire)
class Gate(ProtocolWrapper):
    """Stands between TLS and core's protocol, as the wire of the latter: shut both ways until the peer is proven."""

    def __init__(self, factory: _TlsFactory, inner: IProtocol) -> None:
        super().__init__(cast(Any, factory), inner)
        self._transport = factory.tls
        self._expected = factory.expected
        self._received = 0
        self._held: list[bytes] = []
        self._info: TransportInfo | None = None
        self._refusal: HandshakeFailed | None = None
        self._waiting: Deferred[TransportInfo] | None = None
        self._shut = True
        self.ended = False

    def prove(self) -> Deferred[TransportInfo]:
        """See `ITransport.prove`."""
        if self._refusal is not None:
            return fail(self._refusal)
        if self._info is not None:
            # What came in meanwhile goes on only when the caller has had the answer.
            self._transport.context.reactor.callLater(0, self._open)
            return succeed(self._info)
        self._waiting = Deferred(self._given_up)
        return self._waiting

    def _given_up(self, _: Deferred[TransportInfo]) -> None:
        self._waiting = None
        self.abortConnection()

    def glance(self, certificate: x509.Certificate) -> bool:
        """The check within the handshake: a False from here sends the peer an alert."""
        try:
            self._transport.check(certificate, self._expected)
        except HandshakeFailed as error:
            self._refusal = error
            return False
        return True

    def handshakeCompleted(self) -> None:
        """Called by TLS with the handshake done, and before any application byte is decrypted."""
        connection = cast(Any, self.transport).getHandle()
        certificate = connection.get_peer_certificate(as_cryptography=True)
        try:
            if certificate is None:
                raise HandshakeFailed("no-certificate: the peer has shown none")
            peer_id = self._transport.check(
                certificate, self._expected, connection.get_peer_cert_chain(), complete=True
            )
        except HandshakeFailed as error:
            self.refuse(error)
            return
        self._transport.count("done")
        encryption = f"{connection.get_protocol_version_name()} {connection.get_cipher_name()}"
        self._info = TransportInfo(peer_id, certificate.public_bytes(serialization.Encoding.DER), encryption)
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.callback(self._info)
            self._open()

    def refuse(self, error: HandshakeFailed) -> None:
        """Break the connection off, and say why to whoever asked."""
        self._refusal = error
        self._held.clear()
        self.abortConnection()
        self._answer(error)

    def admit(self, length: int) -> bool:
        """Count what a peer sends before it has proven anything; False where it was too much."""
        if self._info is not None:
            return True
        if self._refusal is not None:
            return False
        if self._received > self._transport.config.handshake_buffer:
            self.refuse(
                HandshakeFailed(
                    f"oversized-handshake: over {self._transport.config.handshake_buffer} bytes and not done"
                )
            )
            return False
        self._received += length
        return True

    def makeConnection(self, transport: Any) -> None:
        """Called by TLS with itself as the transport, before its handshake begins."""
        config = self._transport.config
        set_tcp_options(transport.transport, config.nodelay, config.keepalive)
        cast(Any, Protocol).makeConnection(self, transport)
        self.wrappedProtocol.makeConnection(self)

    def dataReceived(self, data: bytes) -> None:
        """Called by TLS with decrypted bytes."""
        if not self._shut:
            self.wrappedProtocol.dataReceived(data)
        elif self._refusal is None and not self.ended:
            # Proven, and nobody has asked yet: one read at the most, as no more is taken from the socket.
            cast(Any, self.transport).pauseProducing()
            self._held.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Called by TLS once, at the end."""
        self.ended = True
        self._held.clear()
        if self._info is None:
            error = self._refusal or HandshakeFailed(_explain(reason))
            self._refusal = error
            self._answer(error)
        inner, self.wrappedProtocol = self.wrappedProtocol, cast(Any, _SPENT)
        inner.connectionLost(reason)

    def write(self, data: bytes) -> None:
        """Encrypt and send. Raises RuntimeError before the peer is proven."""
        if self._info is None:
            raise RuntimeError("nothing may be sent before the transport has proven the peer")
        cast(IWire, self.transport).write(data)

    def writeSequence(self, data: Sequence[bytes]) -> None:  # type: ignore[override]  # theirs is not annotated
        """Encrypt and send, in order."""
        self.write(b"".join(data))

    def abortConnection(self) -> None:
        """Break the connection off at once."""
        if not self.ended and self.transport is not None:
            cast(Any, self.transport).abortConnection()

    def _answer(self, error: HandshakeFailed) -> None:
        self._transport.count(str(error).split(":", 1)[0])
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.errback(error)

    def _open(self) -> None:
        if self.ended or not self._shut:
            return
        self._shut = False
        held, self._held = self._held, []
        if held:
            cast(Any, self.transport).resumeProducing()
            self.wrappedProtocol.dataReceived(b"".join(held))


_SPENT = Protocol()


def _explain(reason: Failure) -> str:
    """The first word for counters (a few, whatever a peer does), the rest for people."""
    error = reason.value
    if isinstance(error, SSL.Error) and error.args and isinstance(error.args[0], (list, tuple)):
        return "tls-failed: " + "; ".join(str(entry[-1]) for entry in error.args[0][:3])
    return f"closed: the connection ended during the TLS handshake ({str(error)[:200]})"


class _BoundedTls(BufferingTLSTransport):
    """Twisted's TLS, with a bound on what comes in before the handshake is done."""

    def dataReceived(self, bytes: bytes) -> None:
        """Called by the socket."""
        if cast(Gate, self.wrappedProtocol).admit(len(bytes)):
            cast(Any, super()).dataReceived(bytes)


@implementer(IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator)
class _Creator:
    def __init__(self, context: SSL.Context, name: str | None) -> None:
        self._context = context
        self._name = name

    def clientConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        """Called by Twisted for each dial that has connected."""
        connection = SSL.Connection(self._context, None)
        if self._name is not None and not is_ip(self._name):
            connection.set_tlsext_host_name(self._name.encode("idna"))
        return connection

    def serverConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        """Called by Twisted for each connection accepted."""
        return SSL.Connection(self._context, None)


class _TlsFactory(TLSMemoryBIOFactory):
    protocol = _BoundedTls

    def __init__(self, tls: TlsTransport, inner: IProtocolFactory, expected: Expected, client: bool) -> None:
        creator = _Creator(tls.ssl_context(client), expected.name)
        super().__init__(creator, client, inner, clock=tls.context.reactor)
        self.tls = tls
        self.expected = expected

    def buildProtocol(self, addr: IAddress | None) -> _BoundedTls | None:  # type: ignore[override]  # theirs builds always
        """Core's factory may turn a connection away by building nothing."""
        inner = self.wrappedFactory.buildProtocol(addr)
        return None if inner is None else _BoundedTls(self, Gate(self, inner))


@implementer(IStreamClientEndpoint)
class TlsClientEndpoint:
    def __init__(self, tls: TlsTransport, inner: IStreamClientEndpoint, expected: Expected) -> None:
        self._tls = tls
        self._inner = inner
        self._expected = expected

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect, and begin the handshake; fires with the protocol of `protocolFactory`."""
        factory = _TlsFactory(self._tls, protocolFactory, self._expected, client=True)
        connected = self._inner.connect(cast(Any, factory))
        return connected.addCallback(lambda tls: cast(Any, tls).wrappedProtocol.wrappedProtocol)


@implementer(IStreamServerEndpoint)
class TlsServerEndpoint:
    def __init__(self, tls: TlsTransport, inner: IStreamServerEndpoint) -> None:
        self._tls = tls
        self._inner = inner

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen; each connection that comes begins its handshake at once."""
        return self._inner.listen(cast(Any, _TlsFactory(self._tls, protocolFactory, Expected(), client=False)))
