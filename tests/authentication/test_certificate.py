"""The certificate authenticator."""

from __future__ import annotations

import hashlib
import ipaddress
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from zope.interface.verify import verifyClass, verifyObject

from p2pframe.authentication.certificate import CertificateAuthenticator, CertificateConfig
from p2pframe.interfaces import IAuthenticator, IReconfigurable
from p2pframe.model import Action, HandshakeInfo, PeerAddress, Slot
from p2pframe.testing.context import FakeContext

KEY = ec.generate_private_key(ec.SECP256R1())
PIN = hashlib.sha256(KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def certificate(names=("Node.example",), ips=("192.0.2.1",), organisation="Example"):
    builder = (
        x509.CertificateBuilder()
        .subject_name(
            x509.Name(
                [
                    x509.NameAttribute(NameOID.COMMON_NAME, "node"),
                    x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
                    x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "nodes"),
                    x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "second"),
                ]
            )
        )
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")]))
        .public_key(KEY.public_key())
        .serial_number(7)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2040, 1, 1, tzinfo=UTC))
    )
    if names or ips:
        entries = [*map(x509.DNSName, names), *(x509.IPAddress(ipaddress.ip_address(ip)) for ip in ips)]
        builder = builder.add_extension(x509.SubjectAlternativeName(entries), critical=False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


CERTIFICATE = certificate()


def authenticator(**options):
    return CertificateAuthenticator(CertificateConfig(**options), FakeContext("authentication.certificate"))


def peer(der=CERTIFICATE):
    return HandshakeInfo(PeerAddress("192.0.2.1", 8333), inbound=True, certificate=der)


def test_it_is_an_authenticator():
    verifyClass(IAuthenticator, CertificateAuthenticator)
    verifyObject(IAuthenticator, authenticator())
    verifyObject(IReconfigurable, authenticator())


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, None),
        ({"subject": {"O": "Example"}}, None),
        ({"subject": {"O": "Example", "OU": "second"}}, None),
        ({"subject": {"O": "Other"}}, "wrong-subject"),
        ({"subject": {"O": "Example", "C": "DE"}}, "wrong-subject"),
        ({"issuer": {"CN": "authority"}}, None),
        ({"issuer": {"CN": "node"}}, "wrong-issuer"),
        ({"names": ["node.example"]}, None),
        ({"names": ["other.example", "NODE.example"]}, None),
        ({"names": ["*.example"]}, None),
        ({"names": ["*.node.example"]}, "wrong-name"),
        ({"names": ["example"]}, "wrong-name"),
        ({"names": ["192.0.2.1"]}, None),
        ({"names": ["192.0.2.2"]}, "wrong-name"),
        ({"pins": [PIN]}, None),
        ({"pins": ["11" * 32, PIN]}, None),
        ({"pins": ["11" * 32]}, "wrong-key"),
        ({"pins": [PIN], "names": ["other.example"]}, "wrong-name"),
        ({"pins": ["11" * 32], "names": ["node.example"]}, "wrong-key"),
    ],
)
def test_all_that_is_asked_for_must_hold(options, reason):
    verdict = authenticator(**options).admit(peer(), Slot.INBOUND)
    assert verdict.reason == (reason or "")
    assert bool(verdict) is (reason is None)
    if reason:
        assert (verdict.action, verdict.rule) == (Action.DISCONNECT, "authentication.certificate")
        assert verdict.evidence


def test_one_is_needed():
    verdict = authenticator().admit(peer(None), Slot.INBOUND)
    assert verdict.reason == "no-certificate"
    assert (
        authenticator(names=["a.example"]).admit(peer(certificate((), ())), Slot.INBOUND).evidence.endswith("no name")
    )


@given(
    st.binary(max_size=300)
    | st.integers(0, len(CERTIFICATE) - 1).map(lambda n: CERTIFICATE[:n] + b"\xff" + CERTIFICATE[n + 1 :])
)
def test_a_mangled_one_is_refused_or_read_and_never_raises(der):
    verdict = authenticator(names=["node.example"], subject={"O": "Example"}).admit(peer(der), Slot.INBOUND)
    assert verdict or verdict.reason in {"bad-certificate", "wrong-name", "wrong-subject"}


def test_evidence_is_bounded():
    der = certificate([f"{n}.example" for n in range(500)], organisation="x" * 64)
    assert len(authenticator(names=["a.other"]).admit(peer(der), Slot.INBOUND).evidence) < 300


def test_those_we_dialled_may_be_left_out_of_it():
    assert authenticator(dialled=False).admit(peer(None), Slot.MANUAL)
    assert not authenticator(dialled=False).admit(peer(None), Slot.INBOUND)


def test_options_are_live():
    rule = authenticator(pins=["11" * 32])
    rule.reconfigure(CertificateConfig(pins=[PIN]))
    assert rule.admit(peer(), Slot.INBOUND)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"subject": {"X": "y"}}, "is none of CN, O"),
        ({"pins": ["abc"]}, "64 hex digits"),
        ({"names": ["*"]}, "not a DNS name"),
        ({"names": ["a.*.b"]}, "not a DNS name"),
        ({"names": ["two words"]}, "not a DNS name"),
    ],
)
def test_mistakes_in_the_config_are_told(options, said):
    with pytest.raises(ValidationError, match=said):
        CertificateConfig(**options)
