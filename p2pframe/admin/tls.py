"""TLS for the admin: what a browser takes today, and nothing older."""

from __future__ import annotations

from pathlib import Path

from OpenSSL import SSL, crypto
from twisted.internet.ssl import CertificateOptions, TLSVersion

from p2pframe.errors import StartError, StorageError
from p2pframe.private_file import read_private


def context_factory(certificate: Path, private_key: Path) -> CertificateOptions:
    """Of a certificate chain and its key. Raises `StartError`."""
    try:
        chain = [
            crypto.load_certificate(crypto.FILETYPE_PEM, b"-----BEGIN CERTIFICATE-----" + part)
            for part in certificate.read_bytes().split(b"-----BEGIN CERTIFICATE-----")[1:]
        ]
        # With no passphrase at all OpenSSL would ask the terminal for one.
        key = crypto.load_privatekey(crypto.FILETYPE_PEM, read_private(private_key), b"")
    except (OSError, StorageError, crypto.Error) as error:
        raise StartError(f"admin: the certificate or its key can't be read: {error}") from error
    if not chain:
        raise StartError(f"admin: there is no certificate in {certificate}")
    options = CertificateOptions(
        privateKey=key, certificate=chain[0], extraCertChain=chain[1:], raiseMinimumTo=TLSVersion.TLSv1_2
    )
    try:
        options.getContext().check_privatekey()
    except SSL.Error as error:
        raise StartError(f"admin: {private_key} is not the key of {certificate}") from error
    return options
