"""Who we are: the key and certificate that an operator names, or our own in the data directory."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import crypto

from p2pframe.errors import StartError, StorageError
from p2pframe.interfaces import IContext
from p2pframe.model import PeerId
from p2pframe.private_file import read_private, write_private

_VALIDITY = timedelta(days=3650)
_RENEW = timedelta(days=30)
# Clocks differ: a certificate made this second must be valid for a peer that is behind.
_SKEW = timedelta(days=1)


class Identity(NamedTuple):
    """Our own certificate with its chain, its key, and the peer id by which others know us."""

    chain: tuple[x509.Certificate, ...]
    key: Any
    peer_id: PeerId


def peer_id_of(certificate: x509.Certificate) -> PeerId:
    """SHA-256 of the certificate's SubjectPublicKeyInfo (RFC 7469, section 2.4).

    Raises ValueError for an unknown kind of key.
    """
    key = certificate.public_key()
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return PeerId(hashlib.sha256(der).digest())


def is_ip(text: str) -> bool:
    """Whether a name in a certificate is an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def read_identity(certificate: Path, private_key: Path) -> Identity:
    try:
        chain = tuple(x509.load_pem_x509_certificates(certificate.read_bytes()))
        peer_id = peer_id_of(chain[0])
    except (OSError, ValueError) as error:
        raise StartError(
            f"transport tls: certificate {certificate}: {error}: name a PEM file with our certificate"
        ) from None
    key = _read_key(private_key)
    if key.public_key() != chain[0].public_key():
        raise StartError(
            f"transport tls: the private_key {private_key} is not the key of the certificate {certificate}"
        )
    return Identity(chain, key, peer_id)


def _read_key(path: Path) -> Any:
    """The key that the config names.

    It may be a link, and a group's, as the programs that renew certificates leave it.
    """
    try:
        if path.stat().st_mode & 0o007:
            raise StartError(f"transport tls: every user may read the key {path}: chmod 600 it")
        return serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise StartError(
            f"transport tls: private_key {path}: {error}: name the PEM file with the certificate's key, without a "
            "passphrase"
        ) from None


def read_authorities(path: Path) -> crypto.X509Store:
    store = crypto.X509Store()
    try:
        for authority in x509.load_pem_x509_certificates(path.read_bytes()):
            store.add_cert(crypto.X509.from_cryptography(authority))
    except (OSError, ValueError) as error:
        raise StartError(f"transport tls: authorities {path}: {error}: name a PEM file with CA certificates") from None
    return store


def own_identity(context: IContext, names: Sequence[str]) -> Identity:
    """The self-signed identity in the data directory.

    The key is kept for ever; the certificate is made anew when it gets old, or when the names change: the peer id
    stays.
    """
    key_path = context.data_dir / "key.pem"
    certificate_path = context.data_dir / "certificate.pem"
    try:
        key = _own_key(key_path)
        if key is None:
            # 16 bytes more than the group's order has: the bias of the remainder is under 2^-128.
            order = ec.SECP256R1.group_order
            key = ec.derive_private_key(int.from_bytes(context.entropy.bytes(48)) % (order - 1) + 1, ec.SECP256R1())
            write_private(
                key_path,
                key.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                ),
            )
        certificate = _own_certificate(context, key, names, certificate_path)
    except StorageError as error:
        raise StartError(f"transport tls: {error}") from None
    return Identity((certificate,), key, peer_id_of(certificate))


def _own_key(path: Path) -> ec.EllipticCurvePrivateKey | None:
    try:
        key = serialization.load_pem_private_key(read_private(path), password=None)
        if isinstance(key, ec.EllipticCurvePrivateKey):
            return key
        problem = "not a key of ours"
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        problem = str(error)
    raise StartError(
        f"transport tls: key {path}: {problem}: restore it from a backup, or move it away and get a new identity"
    )


def _own_certificate(
    context: IContext, key: ec.EllipticCurvePrivateKey, names: Sequence[str], path: Path
) -> x509.Certificate:
    now = datetime.fromtimestamp(context.unix_time(), UTC)
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        current = (
            certificate.public_key() == key.public_key()
            and certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - _RENEW
            and tuple(_names_in(certificate)) == tuple(str(name) for name in names)
        )
    except (OSError, ValueError):
        current = False
    if not current:
        certificate = _self_signed(key, names, now, 1 + context.entropy.integer(152))
        write_private(path, certificate.public_bytes(serialization.Encoding.PEM))
    return certificate


def _names_in(certificate: x509.Certificate) -> list[str]:
    extensions = certificate.extensions
    try:
        found = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(entry.value) for entry in found]


def _self_signed(key: ec.EllipticCurvePrivateKey, names: Sequence[str], now: datetime, serial: int) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64] if names else "p2pframe")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _VALIDITY)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    if names:
        entries: list[x509.GeneralName] = [
            x509.IPAddress(ipaddress.ip_address(name)) if is_ip(name) else x509.DNSName(name) for name in names
        ]
        builder = builder.add_extension(x509.SubjectAlternativeName(entries), critical=False)
    return builder.sign(key, hashes.SHA256())
