"""The suite of `IAuthenticator`: a verdict on whatever a handshake may have said, with a reason and without a trace.

No options.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from random import Random

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from p2pframe.model import HandshakeInfo, PeerAddress, PeerId, Slot, Verdict
from p2pframe.testing.conformance.bench import Bench
from p2pframe.testing.conformance.quiet import touched
from p2pframe.testing.conformance.verdicts import check_verdict

AGENTS = (
    "", "/Satoshi:27.0.0/", "/p2pframe:1.0/", "*", "[a-", "{0} {agent!r} %s %d", "\x00\n\r\x1b[31m", "\ud800\udfff",
    "ß" * 300, "x" * 100_000, "\u202e/rotcip:1/",
)  # fmt: skip
HOSTS = (
    "192.0.2.1", "127.0.0.1", "10.0.0.1", "::1", "2001:db8::7", "0.0.0.0", "::", "255.255.255.255",
    "peer.example", "expyuzz4wqqyqhjn.onion", "ukeu3k5oycgaauneqgtnvselmt4yemvoilkln7jpvamvfx7dnkdq.b32.i2p",
)  # fmt: skip
SERVICES: tuple[frozenset[str], ...] = (
    frozenset(), frozenset({"NETWORK"}), frozenset({"NETWORK", "WITNESS", "NETWORK_LIMITED"}),
    frozenset({"", "\x00{}"}), frozenset(f"service {n}" for n in range(2000)),
)  # fmt: skip

_MUST = "Must not block and has no side effect."
_ONCE = "Called once for each session when its handshake has said who the peer is."


def suite(bench: Bench) -> None:
    """Hold an authenticator to its interface. Raises `NonConformance`."""
    asked = _handshakes(bench.random("handshakes"))
    first = bench.twice(lambda: _answers(bench, asked), "its verdicts")
    backwards = _answers(bench, asked[::-1])[::-1]
    for (info, slot), one, other in zip(asked, first, backwards, strict=True):
        bench.require(
            one == other, "admit", _MUST,
            f"{one} for {_short(info, slot)}, and {other} when others had been asked about before",
        )  # fmt: skip


def _answers(bench: Bench, asked: Sequence[tuple[HandshakeInfo, Slot]]) -> list[Verdict]:
    plugin, context = bench.make()
    bench.start(plugin)
    quiet = touched(context)
    verdicts = []
    for info, slot in asked:
        what = _short(info, slot)
        claims = dict(info.claims)
        verdict = bench.call("admit", _ONCE, plugin.admit, info, slot)
        check_verdict(bench, "admit", _ONCE, verdict, what)
        again = bench.call("admit", _ONCE, plugin.admit, info, slot)
        bench.require(verdict == again, "admit", _MUST, f"{verdict} for {what}, and {again} when asked once more")
        bench.require(dict(info.claims) == claims, "admit", _MUST, f"it changed the claims of {what}")
        bench.require(touched(context) == quiet, "admit", _MUST, f"it timed, stored or opened something for {what}")
        verdicts.append(verdict)
    bench.stop(plugin)
    return verdicts


def _handshakes(rng: Random) -> list[tuple[HandshakeInfo, Slot]]:
    """What peers may say, plain and hostile: each value at least once, and many together at random."""
    versions = (None, 0, 1, 70015, 70016, 2**31, 2**64 - 1, -1)
    ids = (None, bytes(32), b"\xff" * 32, b"", rng.randbytes(64))
    certificates = (None, b"", b"\x30\x82\xff\xff", *_certificates(rng))
    claims: tuple[dict[str, str | int | bool], ...] = (
        {}, {"start_height": 800_000, "relay": True}, {"": ""}, {f"k{n}": "v" * 100 for n in range(500)},
    )  # fmt: skip
    found = []
    for number in range(400):
        agent = AGENTS[number % len(AGENTS)] if number < 50 else rng.choice(AGENTS)
        host = HOSTS[number % len(HOSTS)] if number < 50 else rng.choice(HOSTS)
        slot = rng.choice(tuple(Slot))
        chosen = rng.choice(ids)
        info = HandshakeInfo(
            PeerAddress.of(host, rng.choice((0, 1, 8333, 65535))),
            inbound=not slot.dialled,
            version=rng.choice(versions),
            services=rng.choice(SERVICES),
            agent=agent,
            peer_id=None if chosen is None else PeerId(chosen),
            certificate=certificates[number % len(certificates)],
            claims=rng.choice(claims),
        )
        found.append((info, slot))
    return found


def _certificates(rng: Random) -> list[bytes]:
    """A good certificate, cut, and with bytes changed: what a transport without authorities may hand on."""
    good = _certificate()
    changed = []
    for _ in range(60):
        data = bytearray(good)
        for _ in range(rng.choice((1, 1, 2, 20))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        changed.append(bytes(data))
    return [good, good[: len(good) // 2], good + b"\0" * 100, *changed]


@cache
def _certificate() -> bytes:
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "peer"), x509.NameAttribute(NameOID.COUNTRY_NAME, "XX")])
    names = x509.SubjectAlternativeName([x509.DNSName("peer.example"), x509.DNSName("*.example.org")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2040, 1, 1, tzinfo=UTC))
        .add_extension(names, critical=False)
        .sign(key, None)
        .public_bytes(Encoding.DER)
    )


def _short(info: HandshakeInfo, slot: Slot) -> str:
    return (
        f"a {slot.value} peer at {info.address}, version {info.version}, agent {info.agent!r:.40}, "
        f"{len(info.services)} services, {'a' if info.certificate else 'no'} certificate"
    )
