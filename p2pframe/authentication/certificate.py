"""Who is let in by its certificate: whose it is, who issued it, which names and which key it has.

The transport has proven that the peer holds the certificate's key, and has checked dates and chain; what a field says
is worth as much as its issuer. Without authorities at the transport anybody may write any subject: rely on pins then.
"""

from __future__ import annotations

import hashlib
import ipaddress
from typing import Annotated, cast

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError
from zope.interface import implementer

from p2pframe.interfaces import IAuthenticator, IContext, IReconfigurable
from p2pframe.model import ALLOW, Action, HandshakeInfo, PeerAddress, Slot, Verdict
from p2pframe.plugin import Pin, PluginConfig, bound, live, plugin

_RULE = "authentication.certificate"
_ATTRIBUTES = {
    "CN": NameOID.COMMON_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "C": NameOID.COUNTRY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "L": NameOID.LOCALITY_NAME,
    "DC": NameOID.DOMAIN_COMPONENT,
    "emailAddress": NameOID.EMAIL_ADDRESS,
    "serialNumber": NameOID.SERIAL_NUMBER,
}


def _attributes(wanted: dict[str, str]) -> dict[str, str]:
    for name in wanted:
        if name not in _ATTRIBUTES:
            raise PydanticCustomError(
                "attribute", "{name} is none of {known}", {"name": repr(name), "known": ", ".join(_ATTRIBUTES)}
            )
    return wanted


def _pattern(text: str) -> str:
    try:
        host = PeerAddress.of(text.removeprefix("*."), 0).host
        host.encode("ascii")
    except (ValueError, UnicodeError):
        host = "*"
    if "*" in host:
        raise PydanticCustomError("name", "not a DNS name, *.name or IP address in ASCII")
    return f"*.{host}" if text.startswith("*.") else host


Attributes = Annotated[dict[str, str], AfterValidator(_attributes)]
NamePattern = Annotated[str, AfterValidator(_pattern)]


class CertificateConfig(PluginConfig):
    """Options of the `certificate` authenticator: each one that is given must hold."""

    subject: Attributes = bound(
        {},
        description="What the subject must say, such as {O: Example, OU: nodes}.",
        counter="refusals",
        label="wrong-subject",
        refuses=("wrong-subject",),
    )
    issuer: Attributes = bound(
        {}, description="What the issuer must say.", counter="refusals", label="wrong-issuer", refuses=("wrong-issuer",)
    )
    names: tuple[NamePattern, ...] = bound(
        (),
        max_length=1_000,
        description="One of these must be a subjectAltName; *.example.org stands for one label more.",
        counter="refusals",
        label="wrong-name",
        refuses=("wrong-name",),
    )
    pins: tuple[Pin, ...] = bound(
        (),
        max_length=10_000,
        description="SHA-256 of SubjectPublicKeyInfo: the key must be one of these.",
        counter="refusals",
        label="wrong-key",
        refuses=("wrong-key",),
    )
    dialled: bool = live(True, description="Ask it of peers that we dialled too, not only of those that dialled us.")


@plugin("certificate", config=CertificateConfig)
@implementer(IAuthenticator, IReconfigurable)
class CertificateAuthenticator:
    """Lets in who has shown a certificate with the right subject, issuer, names and key."""

    name = "certificate"

    def __init__(self, config: CertificateConfig, context: IContext) -> None:
        self.config = config
        self.context = context

    def admit(self, info: HandshakeInfo, slot: Slot) -> Verdict:
        """Allowed, or `no-`/`bad-certificate`, `wrong-key`, `wrong-subject`, `wrong-issuer` or `wrong-name`."""
        if slot.dialled and not self.config.dialled:
            return ALLOW
        if info.certificate is None:
            return _refused("no-certificate", "the transport has seen none: use one that does, such as tls")
        try:
            return self._judge(x509.load_der_x509_certificate(info.certificate))
        except Exception as error:  # noqa: BLE001 - a stranger's bytes: whatever parsing raises, the answer is no
            return _refused("bad-certificate", f"{type(error).__name__}: {str(error)[:200]}")

    def _judge(self, certificate: x509.Certificate) -> Verdict:
        config = self.config
        if config.pins:
            key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            pin = hashlib.sha256(key).digest()
            if pin not in config.pins:
                return _refused("wrong-key", f"its key has the pin {pin.hex()}")
        for whose, name, wanted in (
            ("subject", certificate.subject, config.subject),
            ("issuer", certificate.issuer, config.issuer),
        ):
            for attribute, value in wanted.items():
                values = [str(found.value) for found in name.get_attributes_for_oid(_ATTRIBUTES[attribute])]
                if value not in values:
                    said = ", ".join(values)[:200] or "none"
                    return _refused(f"wrong-{whose}", f"its {attribute} is {said}, not {value}")
        if config.names:
            names = _names(certificate)
            if not any(_matches(pattern, name) for pattern in config.names for name in names):
                return _refused("wrong-name", f"it is made out to {', '.join(names)[:200] or 'no name'}")
        return ALLOW

    def reconfigure(self, config: object) -> None:
        """Takes new options: they hold for whoever comes next."""
        self.config = cast(CertificateConfig, config)


def _refused(reason: str, evidence: str) -> Verdict:
    return Verdict(Action.DISCONNECT, _RULE, reason, evidence)


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [
        *(name.lower().rstrip(".") for name in names.get_values_for_type(x509.DNSName)),
        *(str(ip) for ip in names.get_values_for_type(x509.IPAddress) if not isinstance(ip, _NETWORKS)),
    ]


_NETWORKS = (ipaddress.IPv4Network, ipaddress.IPv6Network)


def _matches(pattern: str, name: str) -> bool:
    """A certificate's own wildcard is a name like any other: it matches the same pattern, and never a single host."""
    if pattern.startswith("*."):
        label, dot, rest = name.partition(".")
        return bool(label and dot) and rest == pattern[2:]
    return name == pattern
