"""TLS 1.3 with certificates on both ends; a peer's id is the hash of its key, and nothing passes before it is checked.

    dialer                                     listener
      | --- ClientHello ----------------------> |
      | <-- ServerHello .. Certificate Finished |   the dialer checks key, name, dates, chain
      | --- Certificate .. Finished ----------> |   the listener checks key, dates, chain
      | <========= application data ==========> |   each end: only after its own check

What the bytes of the two connections need for that:

- the check runs twice: in OpenSSL's callback, so that a stranger gets an alert and never our certificate, and once more
  on the finished handshake, where a resumed session (which calls nobody back) can't pass by it. Sessions are neither
  kept nor resumed, and there is no early data;
- `_Gate` stands between TLS and core's protocol: until the check has passed and core was told, no byte goes either way.

Names are matched as RFC 6125 says, by service-identity. Peer ids are RFC 7469's pins: SHA-256 over
SubjectPublicKeyInfo, so that a certificate may be renewed on the same key. OpenSSL makes its own chance: what it sends
is outside of a simulation's trace guarantee. The identity key is drawn from the context, so ids do repeat there.
"""

from __future__ import annotations

from p2pframe.transports.tls.config import TlsConfig, TlsPeer
from p2pframe.transports.tls.transport import TlsTransport

__all__ = ["TlsConfig", "TlsPeer", "TlsTransport"]
