"""The transport itself: endpoints, the settings of OpenSSL, and the check of who is at the other end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import cast

from cryptography import x509
from OpenSSL import SSL, crypto
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.interfaces import ITransport as IWire
from zope.interface import implementer

from p2pframe.endpoints import tcp_client, tcp_reaches, tcp_server
from p2pframe.errors import HandshakeFailed
from p2pframe.interfaces import IContext, IReconfigurable, ITransport, Listener
from p2pframe.model import PeerAddress, PeerId, TransportInfo
from p2pframe.plugin import plugin
from p2pframe.transports.tls.config import TlsConfig
from p2pframe.transports.tls.gate import Expected, Gate, TlsClientEndpoint, TlsServerEndpoint, verify_callback
from p2pframe.transports.tls.identity import Identity, is_ip, own_identity, peer_id_of, read_authorities, read_identity


@plugin("tls", config=TlsConfig, unrepeatable="OpenSSL draws its own keys, which no seed reaches")
@implementer(ITransport, IReconfigurable)
class TlsTransport:
    """TLS 1.3 over TCP, certificates on both ends; the peer id is the hash of the peer's key."""

    name = "tls"

    def __init__(self, config: TlsConfig, context: IContext) -> None:
        self.config = config
        self.context = context
        self._identity: Identity | None = None
        self._contexts: dict[bool, SSL.Context] = {}
        self._authorities: crypto.X509Store | None = None
        self._handshakes = context.metrics.counter(
            "tls_handshakes_total", "TLS handshakes by how they ended.", ["outcome"]
        )

    @property
    def identity(self) -> Identity:
        """Who we are; read, or made, when first asked for. Raises `StartError` that names the file at fault."""
        if self._identity is None:
            config = self.config
            if config.certificate is not None and config.private_key is not None:
                self._identity = read_identity(config.certificate, config.private_key)
            else:
                self._identity = own_identity(self.context, config.names)
            if config.authorities is not None:
                self._authorities = read_authorities(config.authorities)
            self.context.log.info("TLS peer id {peer_id}", peer_id=self._identity.peer_id.hex())
        return self._identity

    def can_dial(self, address: PeerAddress) -> bool:
        """IP addresses (of the version of `bind`, where it is set) and names; no onion."""
        return tcp_reaches(address, self.config.bind)

    def dial(self, address: PeerAddress, peer_id: PeerId | None) -> IStreamClientEndpoint:
        """The endpoint for `address`, where the peer of `peer_id`, of the config's pins and of its name must answer."""
        peer = self.config.peers.get(str(address)) or self.config.peers.get(str(PeerAddress.of(address.host, 0)))
        pins: list[tuple[bytes, ...]] = []
        name = None
        if peer is not None:
            name = peer.name
            if peer.pins:
                pins.append(peer.pins)
        if peer_id is not None:
            pins.append((peer_id,))
        if name is None and address.kind == "name" and self.config.authorities is not None and self.config.check_names:
            name = address.host
        self.ssl_context(client=True)
        inner = tcp_client(self.context.reactor, address, self.config.bind)
        return TlsClientEndpoint(self, inner, Expected(name, tuple(pins)))

    def listeners(self) -> Sequence[Listener]:
        """One for each entry of `listen`. Raises `StartError` where the identity can't be read or made."""
        self.ssl_context(client=False)
        return tuple(
            Listener(
                TlsServerEndpoint(self, tcp_server(self.context.reactor, address, self.config.backlog)), str(address)
            )
            for address in self.config.listen
        )

    def prove(self, wire: IWire) -> Deferred[TransportInfo]:
        """Fires with the peer's id and certificate once the handshake is done and both were checked."""
        if not isinstance(wire, Gate):
            return fail(HandshakeFailed("not-tls: this connection was not opened by the tls transport"))
        return wire.prove()

    def reconfigure(self, config: object) -> None:
        """Takes new `peers` and `allowed`: they hold from the next handshake on."""
        self.config = cast(TlsConfig, config)

    def ssl_context(self, client: bool) -> SSL.Context:
        """The settings that all connections of one direction share."""
        context = self._contexts.get(client)
        if context is None:
            identity = self.identity
            context = SSL.Context(SSL.TLS_METHOD)
            context.set_min_proto_version(SSL.TLS1_3_VERSION)
            context.set_max_proto_version(SSL.TLS1_3_VERSION)
            context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_COMPRESSION)
            context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
            # A ticket of another process, or of another network here, is never ours.
            context.set_session_id(self.context.entropy.bytes(32))
            context.set_mode(SSL.MODE_RELEASE_BUFFERS)
            context.set_verify_depth(8)
            context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, verify_callback)
            context.use_certificate(identity.chain[0])
            for issuer in identity.chain[1:]:
                context.add_extra_chain_cert(issuer)
            context.use_privatekey(identity.key)
            context.check_privatekey()
            self._contexts[client] = context
        return context

    def count(self, outcome: str) -> None:
        """Count how a handshake ended: `done`, or the first word of its refusal."""
        self._handshakes.add(1, outcome)

    def check(
        self,
        certificate: x509.Certificate,
        expected: Expected,
        chain: Sequence[crypto.X509] | None = None,
        complete: bool = False,
    ) -> PeerId:
        """The id of the peer that showed `certificate`; raises `HandshakeFailed` for one that may not be here.

        With `complete` the chain is checked too, where there are `authorities`.
        """
        try:
            now = datetime.fromtimestamp(self.context.unix_time(), UTC)
            if now < certificate.not_valid_before_utc:
                raise HandshakeFailed(
                    f"not-yet-valid: the certificate begins at {certificate.not_valid_before_utc}, now is {now}"
                )
            if now > certificate.not_valid_after_utc:
                raise HandshakeFailed(
                    f"expired: the certificate ended at {certificate.not_valid_after_utc}, now is {now}"
                )
            peer_id = peer_id_of(certificate)
            groups = (*expected.pins, self.config.allowed) if self.config.allowed else expected.pins
            for pins in groups:
                if peer_id not in pins:
                    raise HandshakeFailed(
                        f"wrong-pin: the peer's key is {peer_id.hex()}, which is none of the {len(pins)} pinned"
                    )
            if expected.name is not None:
                self._check_name(certificate, expected.name, bool(groups))
            if complete and self._authorities is not None:
                self._check_chain(certificate, chain or (), now)
        except HandshakeFailed:
            raise
        except Exception as error:  # noqa: BLE001 - a stranger's bytes: whatever parsing raises, the answer is no
            raise HandshakeFailed(f"bad-certificate: {type(error).__name__}: {str(error)[:200]}") from None
        return peer_id

    def _check_name(self, certificate: x509.Certificate, name: str, pinned: bool) -> None:
        if not pinned and self._authorities is None:
            # Anyone can write any name into a self-signed certificate.
            raise HandshakeFailed(
                f"unproven-name: nothing proves the name {name!r}: set authorities, or pins for the peer"
            )
        try:
            if is_ip(name):
                verify_certificate_ip_address(certificate, name)
            else:
                verify_certificate_hostname(certificate, name)
        except (VerificationError, CertificateError) as error:
            raise HandshakeFailed(
                f"wrong-name: the certificate is not made out to {name!r}: {str(error)[:200]}"
            ) from None

    def _check_chain(self, certificate: x509.Certificate, chain: Sequence[crypto.X509], now: datetime) -> None:
        assert self._authorities is not None
        self._authorities.set_time(now)
        try:
            crypto.X509StoreContext(
                self._authorities, crypto.X509.from_cryptography(certificate), chain
            ).verify_certificate()
        except crypto.X509StoreContextError as error:
            raise HandshakeFailed(f"unknown-authority: {str(error)[:200]}") from None
