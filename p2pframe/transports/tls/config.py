"""The options of the `tls` transport."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, model_validator
from pydantic_core import PydanticCustomError

from p2pframe.endpoints import ListenAddress, SourceAddress
from p2pframe.model import PeerAddress
from p2pframe.plugin import Field, Pin, PluginConfig, Size, live


def _certified_name(text: str) -> str:
    """A DNS name or IP address as certificates have it: ASCII, without a trailing dot or brackets."""
    try:
        address = PeerAddress.of(text, 0)
        address.host.encode("ascii")
    except (ValueError, UnicodeError):
        raise PydanticCustomError("certified_name", "not a DNS name in ASCII (xn--...) nor an IP address") from None
    return address.host


def _parse_peers(peers: dict[str, TlsPeer]) -> dict[str, TlsPeer]:
    parsed: dict[str, TlsPeer] = {}
    for text, peer in peers.items():
        try:
            key = str(PeerAddress.parse(text, default_port=0))
        except ValueError as error:
            raise PydanticCustomError("tls_peer", "{text}", {"text": str(error)}) from None
        if key in parsed:
            raise PydanticCustomError("tls_peer", "{text} is there twice", {"text": text})
        parsed[key] = peer
    return parsed


CertifiedName = Annotated[str, AfterValidator(_certified_name)]
"""A name or IP address that a certificate is made out to."""


class TlsPeer(PluginConfig):
    """Who must answer at an address."""

    name: CertifiedName | None = Field(
        None, description="DNS name or IP address that its certificate must be made out to."
    )
    pins: tuple[Pin, ...] = Field((), max_length=8, description="Its peer id, or two of them while it changes keys.")

    @model_validator(mode="after")
    def _says_something(self) -> TlsPeer:
        if self.name is None and not self.pins:
            raise PydanticCustomError("tls_peer", "needs a name, pins, or both")
        return self


class TlsConfig(PluginConfig):
    """Options of the `tls` transport."""

    listen: tuple[ListenAddress, ...] = Field((), description="Addresses to listen on; none: this network only dials.")
    bind: SourceAddress | None = Field(
        None, description="Dial from this address of the machine; unset: the system chooses."
    )
    backlog: int = Field(
        50, ge=1, le=65535, description="Connections that the system may hold before they are accepted."
    )
    nodelay: bool = Field(True, description="Send small messages at once (TCP_NODELAY).")
    keepalive: bool = Field(
        False, description="Let the system probe idle connections (SO_KEEPALIVE); sessions do so themselves."
    )
    certificate: Path | None = Field(
        None, description="Our certificate (PEM, with its chain); unset: a self-signed one is made."
    )
    private_key: Path | None = Field(
        None, description="The certificate's key (PEM, mode 0600); goes with `certificate`."
    )
    names: tuple[CertifiedName, ...] = Field(
        (), max_length=100, description="DNS names and IP addresses to make the self-signed certificate out to."
    )
    authorities: Path | None = Field(
        None, description="CA certificates (PEM); when set, every peer's chain must lead to one."
    )
    check_names: bool = Field(
        True, description="With `authorities`: a peer dialled by name must have that name certified."
    )
    allowed: tuple[Pin, ...] = live(
        (), max_length=10_000, description="Only these peer ids, either way; none: everyone."
    )
    peers: Annotated[dict[str, TlsPeer], AfterValidator(_parse_peers)] = live(
        {}, max_length=10_000, description="By host:port, or host for any port: who must answer there."
    )
    handshake_buffer: Size = Field(
        65_536, ge=16_384, description="Bytes taken from a peer before its handshake is done."
    )

    @model_validator(mode="after")
    def _pairs(self) -> TlsConfig:
        if (self.certificate is None) != (self.private_key is None):
            raise PydanticCustomError("tls_files", "certificate and private_key go together: name both or neither")
        if self.certificate is not None and self.names:
            raise PydanticCustomError(
                "tls_names", "names are for the self-signed certificate: leave them out beside certificate"
            )
        return self
