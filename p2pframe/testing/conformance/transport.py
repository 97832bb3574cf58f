"""The suite of transports: of streams, of datagrams, each on hosts of the simulator.

Options: `listen`, what the end that is dialled has in its config (`{"listen": ["198.51.100.1:18444"]}`; of datagrams a
text); `silent`, what the end that only dials has (`{"listen": []}`); `address`, where to dial; `nobody`, where nobody
listens; `deterministic`, False where OpenSSL has its own chance, so that no two runs are alike to the byte.
"""

from __future__ import annotations

from p2pframe.interfaces import ITransport
from p2pframe.testing.conformance import transport_datagrams, transport_streams
from p2pframe.testing.conformance.bench import Bench


def suite(bench: Bench) -> None:
    """Put a transport through it. Raises `NonConformance`."""
    (transport_streams if bench.interface is ITransport else transport_datagrams).suite(bench)
