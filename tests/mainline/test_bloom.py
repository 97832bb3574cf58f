"""The filters of BEP 33, with its vector."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pframe.protocols.mainline.bloom import BYTES, Bloom

VECTOR = bytes.fromhex(
    """
    F6C3F5EA A07FFD91 BDE89F77 7F26FB2B FF37BDB8 FB2BBAA2 FD3DDDE7 BACFFF75 EE7CCBAE
    FE5EEDB1 FBFAFF67 F6ABFF5E 43DDBCA3 FD9B9FFD F4FFD3E9 DFF12D1B DF59DB53 DBE9FA5B
    7FF3B8FD FCDE1AFB 8BEDD7BE 2F3EE71E BBBFE93B CDEEFE14 8246C2BC 5DBFF7E7 EFDCF24F
    D8DC7ADF FD8FFFDF DDFFF7A4 BBEEDF5C B95CE81F C7FCFF1F F4FFFFDF E5F7FDCB B7FD79B3
    FA1FC77B FE07FFF9 05B7B7FF C7FEFEFF E0B8370B B0CD3F5B 7F2BD93F EB4386CF DD6F7FD5
    BFAF2E9E BFFFFEEC D67ADBF7 C67F17EF D5D75EBA 6FFEBA7F FF47A91E B1BFBB53 E8ABFB57
    62ABE8FF 237279BF EFBFEEF5 FFC5FEBF DFE5ADFF ADFEE1FB 737FFFFB FD9F6AEF FEEE76B6
    FD8F72EF
    """
)
HOSTS = st.ip_addresses().map(lambda ip: ip.packed)


def _vector_hosts():
    return [(ip_address("192.0.2.0") + at).packed for at in range(256)] + [
        (ip_address("2001:db8::") + at).packed for at in range(0x3E7 + 1)
    ]


def test_the_vector_of_bep_33():
    bloom = Bloom()
    for host in _vector_hosts():
        bloom.add(host)
    assert bytes(bloom) == VECTOR
    assert bloom.estimate() == pytest.approx(1224.9308, abs=1e-4)
    assert all(host in bloom for host in _vector_hosts())
    assert Bloom(VECTOR).estimate() == bloom.estimate()


def test_an_empty_and_a_full_filter():
    assert Bloom().estimate() == pytest.approx(0, abs=1)
    assert bytes(Bloom()) == bytes(BYTES)
    assert Bloom(b"\xff" * BYTES).estimate() > 6000
    assert b"\1\2\3\4" not in Bloom()


@given(st.lists(HOSTS, max_size=20), st.lists(HOSTS, max_size=20))
def test_a_union_is_what_adding_all_would_have_made(first, second):
    one, other, both = Bloom(), Bloom(), Bloom()
    for host in first:
        one.add(host)
        both.add(host)
    for host in second:
        other.add(host)
        both.add(host)
    one.union(other)
    assert bytes(one) == bytes(both)
    assert all(host in one for host in first + second)


@pytest.mark.parametrize("size", [0, 255, 257])
def test_a_filter_of_another_size_is_refused(size):
    with pytest.raises(ValueError, match="256 bytes"):
        Bloom(bytes(size))
