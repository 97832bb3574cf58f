"""Node ids bound to addresses: the vectors of BEP 42."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pframe.protocols.mainline.node_id import crc32c, fits, generate

VECTORS = [
    ("124.31.75.21", "5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401"),
    ("21.75.31.124", "5a3ce9c14e7a08645677bbd1cfe7d8f956d53256"),
    ("65.23.51.170", "a5d43220bc8f112a3d426c84764f8c2a1150e616"),
    ("84.124.73.14", "1b0321dd1bb1fe518101ceef99462b947a01ff41"),
    ("43.213.53.83", "e56f6cbf5b7c4be0237986d5243b87aa6d51305a"),
]


@pytest.mark.parametrize(("host", "identity"), VECTORS)
def test_the_vectors_of_bep_42(host, identity):
    number = int(identity, 16)
    assert fits(number, host)
    assert not fits(number ^ 1 << 159, host)
    assert not fits(number ^ 1, host)


def test_the_checksum_is_that_of_rfc_3720():
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA


@given(st.ip_addresses(), st.binary(min_size=20, max_size=20))
def test_what_is_generated_fits_its_address(ip, chance):
    assert fits(generate(str(ip), chance), str(ip))


def test_only_local_addresses_are_exempt():
    for host in ("127.0.0.1", "10.1.2.3", "192.168.1.1", "172.16.9.9", "169.254.1.1", "::1", "fe80::1"):
        assert fits(12345, host)
    assert sum(fits(number * 0x123456789ABCDEF, "8.8.8.8") for number in range(10_000)) < 20
    assert sum(fits(number * 0x123456789ABCDEF, "2600::1") for number in range(10_000)) < 20


def test_what_is_no_address_fits_nothing_and_gets_no_id():
    assert not fits(0, "example.org")
    with pytest.raises(ValueError, match="no IP address"):
        generate("example.org", bytes(20))
    with pytest.raises(ValueError, match="20 random bytes"):
        generate("192.0.2.7", bytes(19))


@pytest.mark.parametrize("host", ["192.0.2.7", "2001:db8::7"])
def test_only_what_bep_42_binds_is_bound(host):
    entropy = bytes(range(100, 120))
    drawn = int.from_bytes(entropy, "big")
    identity = generate(host, entropy)
    assert identity & (1 << 139) - 1 == drawn & (1 << 139) - 1
    for bit in range(160):
        # The first 21 bits are the checksum's, and the last three choose which checksum.
        assert fits(identity ^ 1 << bit, host) == (3 <= bit < 139)
