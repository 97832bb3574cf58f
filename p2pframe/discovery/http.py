"""Peers from a signed list at a URL.

    networks:
      bitcoin:
        discovery: [{plugin: http, url: "https://lists.example/peers", key: "<64 hex digits>"}]

The list is signed by a key that the config pins, so it does not matter who serves it, or over what. It has a serial
number, which never goes back, and a time until when it is good: whoever serves it can neither change it nor give an old
one for ever. It is one text:

    <base64 of the Ed25519 signature of all bytes after this line>
    {"serial": 7, "expires": "2026-12-31T00:00:00Z", "network": "my-net", "peers": ["192.0.2.1:8333"]}

`p2pframe sign-list` makes one. Of what never ends a bounded part is read, headers included, for a bounded time; then
the connection is cut. Redirects are not followed.
"""

from __future__ import annotations

import json
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, NamedTuple, cast
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from OpenSSL.SSL import Error as SslError
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, BrowserLikePolicyForHTTPS, ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IResponse
from zope.interface import implementer

from p2pframe.errors import P2PFrameError, PluginError
from p2pframe.interfaces import DiscoveryState, IContext, IDiscovery, IHostReactor, IReconfigurable
from p2pframe.model import FoundAddress, PeerAddress
from p2pframe.plugin import Duration, Field, Pin, PluginConfig, Size, bound, live, plugin

_SIGNATURE = 64
_SERIALS = 2**63
_HEADERS = 65_536
"""Bytes of an answer beside twice the list's: its headers; what frames it in chunks may be as long as itself."""


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None or not text.isascii():
        raise PydanticCustomError("url", "write http://host/path or https://host/path, without a user name")
    return text


class HttpConfig(PluginConfig):
    """Options of the `http` discovery."""

    url: Annotated[str, AfterValidator(_url)] = Field(description="Where the list is.")
    key: Pin = Field(description="The Ed25519 public key that signs it: 64 hex digits.")
    network: str | None = Field(None, description="The `network` that the list names; unset: the name of ours.")
    ca: Path | None = Field(None, description="A PEM file of the only authorities to trust; unset: the system's.")
    port: int | None = live(None, ge=1, le=65535, description="Port of peers without one; unset: the protocol's own.")
    interval: Duration = live(3600.0, ge=1, description="How often it is fetched.")
    timeout: Duration = bound(
        20.0, gt=0, description="How long a fetch may take in all.", counter="http_lists", label="refused"
    )
    largest: Size = bound(
        1_000_000,
        ge=100,
        description="Bytes of a list; a longer one is refused.",
        counter="http_lists",
        label="refused",
    )
    skew: Duration = bound(
        60.0,
        ge=0,
        description="How long past its time a list is still good: clocks differ.",
        counter="http_lists",
        label="refused",
    )


class SignedList(NamedTuple):
    """What a list says; `expires` is unix time in seconds."""

    serial: int
    expires: float
    network: str
    peers: list[str]


class ListError(P2PFrameError):
    """A list that is not to be believed, or not to be read; the text says why."""


def read_list(data: bytes, key: bytes) -> SignedList:
    """A list whose signature holds. Raises `ListError`."""
    first, newline, body = data.partition(b"\n")
    try:
        signature = b64decode(first.strip(), validate=True)
    except (Base64Error, ValueError):
        signature = b""
    if not newline or len(signature) != _SIGNATURE:
        raise ListError("its first line is no signature: 64 bytes in base64")
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, body)
    except InvalidSignature:
        raise ListError("its signature is not by the key that the config pins") from None
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        raise ListError("it is signed, and is no JSON") from None
    if not isinstance(said, dict):
        raise ListError("it is signed, and is no JSON object")
    serial, expires, network, peers = (said.get(name) for name in ("serial", "expires", "network", "peers"))
    if type(serial) is not int or not 0 <= serial < _SERIALS:
        raise ListError("`serial` is no number from 0 to 2**63 - 1")
    if not isinstance(network, str):
        raise ListError("`network` is no text")
    if not isinstance(peers, list) or not all(isinstance(peer, str) for peer in peers):
        raise ListError("`peers` is no list of texts")
    try:
        until = datetime.fromisoformat(expires) if isinstance(expires, str) else None
    except ValueError:
        until = None
    if until is None or until.tzinfo is None:
        raise ListError("`expires` is no time with its zone, as in 2026-12-31T00:00:00Z")
    return SignedList(serial, until.timestamp(), network, peers)


@plugin("http", config=HttpConfig)
@implementer(IDiscovery, IReconfigurable)
class HttpDiscovery:
    """Fetches a signed list of peers from a URL."""

    name = "http"
    manual = False

    def __init__(self, config: HttpConfig, context: IContext) -> None:
        self.config = config
        self.context = context
        try:
            Ed25519PublicKey.from_public_bytes(config.key)
        except ValueError as error:
            raise PluginError(f"discovery http: `key` is no Ed25519 public key: {error}") from None
        self._policy = self._trusted()
        self._left = context.metrics.counter("http_left_total", "Of signed lists, what was not taken.", ["what"])
        self._fetched = context.metrics.counter("http_lists_total", "Lists fetched, by how it went.", ["outcome"])

    def due(self, state: DiscoveryState) -> bool:
        """At the start, and then every `interval`."""
        return state.last_run is None or state.last_run >= self.config.interval

    def find(self, limit: int) -> Deferred[Sequence[FoundAddress]]:
        """Fetch the list. Fails with `P2PFrameError` that says what is wrong with it."""
        fetching = Deferred.fromCoroutine(self._find(limit))
        clock = self.context.reactor
        return fetching.addTimeout(self.config.timeout, clock, onTimeoutCancel=self._too_slow).addErrback(self._failed)

    def announce(self, addresses: Sequence[PeerAddress]) -> Deferred[None]:
        """Who keeps the list has to find us."""
        return succeed(None)

    def withdraw(self) -> Deferred[None]:
        """Nothing was announced."""
        return succeed(None)

    def reconfigure(self, config: object) -> None:
        """See `IReconfigurable.reconfigure`."""
        self.config = cast(HttpConfig, config)

    async def _find(self, limit: int) -> Sequence[FoundAddress]:
        config, context = self.config, self.context
        data = await self._fetch()
        listed = read_list(data, config.key)
        if listed.network != (config.network or context.network):
            raise ListError(f"it is for the network {listed.network[:100]!r}")
        late = context.unix_time() - listed.expires
        if late > config.skew:
            raise ListError(f"it was good until {late:.0f} s ago: whoever serves it holds newer ones back")
        await self._no_older(listed.serial)
        self._fetched.add(1, "good")
        return self._addresses(listed.peers, limit)

    async def _fetch(self) -> bytes:
        config = self.config
        connection = _Connection(self.context.reactor, self._policy, config.timeout, 2 * config.largest + _HEADERS)
        agent = Agent.usingEndpointFactory(cast(Any, self.context.reactor), connection)
        try:
            response: IResponse = await agent.request(
                b"GET", config.url.encode(), Headers({b"User-Agent": [b"p2pframe"], b"Accept": [b"*/*"]})
            )
            data = await _body(response, config.largest)
        except (ListError, ResponseFailed) as error:
            if connection.over:
                raise ListError(f"it is larger than {config.largest} bytes (largest), or its headers are") from None
            if isinstance(error, ListError):
                raise
            why = error.reasons[0].getErrorMessage() if error.reasons else "it was lost"
            raise ListError(f"the server gave no answer in HTTP: {why[:200]}") from None
        finally:
            connection.cut()
        if response.code != 200:
            raise ListError(f"the server says {response.code}, not 200 (redirects are not followed)")
        return data

    async def _no_older(self, serial: int) -> None:
        """The serial never goes back; what was seen is on the disk before it is gone by."""
        key = b"serial/" + self.config.key
        kept = await self.context.storage.get(key)
        seen = int(kept) if kept is not None and kept.isdigit() else -1
        if serial < seen:
            raise ListError(f"its serial is {serial}, and {seen} has been seen: an old list was served")
        if serial > seen:
            await self.context.storage.write([(key, b"%d" % serial)], durable=True)

    def _addresses(self, peers: list[str], limit: int) -> Sequence[FoundAddress]:
        addresses: dict[PeerAddress, None] = {}
        bad = 0
        for text in peers:
            try:
                addresses[PeerAddress.parse(text, default_port=self.config.port or 0)] = None
            except ValueError:
                bad += 1
        chosen = list(addresses)
        self.context.rng.shuffle(chosen)
        self._left.add(bad, "no addresses")
        self._left.add(max(0, len(chosen) - limit), "too many")
        return [FoundAddress(address) for address in chosen[:limit]]

    def _trusted(self) -> BrowserLikePolicyForHTTPS:
        ca = self.config.ca
        if ca is None:
            return BrowserLikePolicyForHTTPS()
        try:
            blocks = ca.read_bytes().split(b"-----BEGIN CERTIFICATE-----")[1:]
            trusted = [Certificate.loadPEM(b"-----BEGIN CERTIFICATE-----" + block) for block in blocks]
        except (OSError, ValueError, SslError) as error:
            raise PluginError(f"discovery http: `ca`: {ca}: {error}: give a file of PEM certificates") from None
        if not trusted:
            raise PluginError(f"discovery http: `ca`: {ca} has no certificate: give a file of PEM certificates")
        return BrowserLikePolicyForHTTPS(trustRootFromCertificates(trusted))

    def _too_slow(self, result: object, seconds: float) -> Any:
        raise ListError(f"the list did not come within {seconds:g} s (timeout)")

    def _failed(self, failure: Failure) -> Any:
        self._fetched.add(1, "refused" if failure.check(ListError) else "failed")
        if failure.check(ListError):
            raise ListError(f"{self.config.url}: {failure.getErrorMessage()}")
        return failure


class _Counted(ProtocolWrapper):
    """Between the connection and HTTP: cut where there is too much of anything, headers too."""

    factory: _Counting

    def dataReceived(self, data: bytes) -> None:
        """Called with what has come."""
        connection = self.factory.connection
        connection.left -= len(data)
        if connection.left >= 0:
            super().dataReceived(data)  # type: ignore[no-untyped-call]
        elif not connection.over:
            connection.over = True
            connection.cut()


class _Counting(WrappingFactory[_Counted]):
    noisy = False
    protocol = _Counted

    def __init__(self, wrapped: IProtocolFactory, connection: _Connection) -> None:
        super().__init__(wrapped)  # type: ignore[no-untyped-call]
        self.connection = connection

    def registerProtocol(self, p: _Counted) -> None:
        """Called with each connection."""
        super().registerProtocol(p)  # type: ignore[no-untyped-call]
        self.connection.made.append(p)


@implementer(IAgentEndpointFactory)
class _Connection:
    """The connection of one fetch: where it goes, how many bytes it may still bring, and its end.

    Twisted's Agent takes headers without end, and over TLS waits for the other side's farewell, reading on meanwhile.
    """

    def __init__(self, reactor: IHostReactor, policy: BrowserLikePolicyForHTTPS, timeout: float, most: int) -> None:
        self.left = most
        self.over = False
        self.made: list[_Counted] = []
        self._reactor = reactor
        self._policy = policy
        self._timeout = timeout

    def endpointForURI(self, uri: URI) -> _Endpoint:
        """See `IAgentEndpointFactory`."""
        endpoint: IStreamClientEndpoint = HostnameEndpoint(
            cast(Any, self._reactor), uri.host.decode("ascii"), uri.port, timeout=self._timeout
        )
        if uri.scheme == b"https":
            endpoint = wrapClientTLS(cast(Any, self._policy).creatorForNetloc(uri.host, uri.port), endpoint)
        return _Endpoint(endpoint, self)

    def cut(self) -> None:
        """Without a farewell: who lies in wait for it would keep the connection."""
        for wrapper in self.made:
            cast(Any, wrapper.transport).abortConnection()


@implementer(IStreamClientEndpoint)
class _Endpoint:
    def __init__(self, endpoint: IStreamClientEndpoint, connection: _Connection) -> None:
        self._endpoint = endpoint
        self._connection = connection

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """See `IStreamClientEndpoint`."""
        connecting: Deferred[Any] = self._endpoint.connect(cast(Any, _Counting(protocolFactory, self._connection)))
        return connecting.addCallback(lambda wrapper: wrapper.wrappedProtocol)


class _Collect(Protocol):
    """Takes a body, up to its bound."""

    def __init__(self, largest: int) -> None:
        self.largest = largest
        self.size = 0
        self.parts: list[bytes] = []
        self.done: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        """Called with what has come."""
        self.size += len(data)
        if self.size <= self.largest:
            self.parts.append(data)
        elif not self.done.called:
            self.done.errback(ListError(f"it is larger than {self.largest} bytes (largest)"))

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Called at the end of the body, or of the connection."""
        if self.done.called:
            return
        if reason is not None and reason.check(ResponseDone, PotentialDataLoss):
            self.done.callback(b"".join(self.parts))
        else:
            self.done.errback(ListError("the connection was lost in the middle of the list"))


def _body(response: IResponse, largest: int) -> Deferred[bytes]:
    collect = _Collect(largest)
    response.deliverBody(collect)
    return collect.done
