"""TLS with a server whose certificate is at hand: that one is taken, whatever its name, and no other."""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import Any

from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from p2pframe.cli.remote.place import NotFound


@implementer(IPolicyForHTTPS, IOpenSSLClientConnectionCreator)
class PinnedCertificate:
    """Takes the first certificate of a PEM file alone. Raises `NotFound`."""

    def __init__(self, path: Path) -> None:
        try:
            certificate = crypto.load_certificate(crypto.FILETYPE_PEM, path.read_bytes())
        except (OSError, crypto.Error) as error:
            why = getattr(error, "strerror", None) or "it holds no certificate"
            raise NotFound(f"{path}: {why}") from None
        self._digest = certificate.digest("sha256")
        self._context = CertificateOptions(raiseMinimumTo=TLSVersion.TLSv1_2).getContext()
        self._context.set_verify(SSL.VERIFY_PEER, self._is_it)

    def creatorForNetloc(self, hostname: bytes, port: int) -> PinnedCertificate:
        """See `IPolicyForHTTPS`."""
        return self

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """See `IOpenSSLClientConnectionCreator`."""
        return SSL.Connection(self._context, None)

    def _is_it(self, connection: SSL.Connection, found: crypto.X509, error: int, depth: int, good: int) -> bool:
        return depth > 0 or hmac.compare_digest(found.digest("sha256"), self._digest)
