"""addr, addrv2 (BIP155) and the addresses in a version message."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pframe.model import PeerAddress
from p2pframe.protocols.bitcoin import addresses
from p2pframe.protocols.bitcoin.addresses import (
    ADDRESS_LENGTHS,
    CJDNS,
    I2P,
    IPV4,
    IPV6,
    TORV2,
    TORV3,
    YGGDRASIL,
    NetworkAddress,
)
from p2pframe.protocols.bitcoin.wire import MalformedMessage, TooMany, compact_size

ONIONCAT = bytes.fromhex("fd87d87eeb43")
MAPPED = bytes(10) + b"\xff\xff"
INTERNAL = bytes.fromhex("fd6b88c08724")


def raw_addresses(network: int) -> st.SearchStrategy[bytes]:
    raw = st.binary(min_size=ADDRESS_LENGTHS[network], max_size=ADDRESS_LENGTHS[network])
    if network == CJDNS:
        return raw.map(lambda address: b"\xfc" + address[1:])
    if network == YGGDRASIL:
        return raw.map(lambda address: bytes([2 | address[0] & 1]) + address[1:])
    if network == IPV6:
        return raw.filter(lambda address: not address.startswith((MAPPED, ONIONCAT, INTERNAL)))
    return raw


def entries(*networks: int) -> st.SearchStrategy[NetworkAddress]:
    return st.sampled_from(networks).flatmap(
        lambda network: st.builds(
            NetworkAddress,
            st.integers(0, 2**32 - 1),
            st.one_of(st.integers(0, 2**64 - 1), st.sampled_from([0, 9, 1033, 3081])),
            st.just(network),
            raw_addresses(network),
            st.integers(0, 65535),
        )
    )


gossip = st.lists(entries(IPV4, IPV6, TORV3, I2P, CJDNS, YGGDRASIL), max_size=20)


def entry_v2(network: int, address: bytes, services: bytes = b"\x09") -> bytes:
    return b"\x01\0\0\0" + services + bytes([network]) + compact_size(len(address)) + address + b"\x20\x8d"


@given(gossip, st.data())
def test_addrv2_comes_back_and_no_part_of_it_is_one(given_entries, data):
    payload = addresses.encode_addrv2(given_entries)
    assert addresses.decode_addrv2(payload) == given_entries
    with pytest.raises(MalformedMessage):
        addresses.decode_addrv2(payload[: data.draw(st.integers(0, len(payload) - 1))])
    with pytest.raises(MalformedMessage):
        addresses.decode_addrv2(payload + b"\0")


@given(gossip.filter(bool))
def test_btclib_reads_the_same_addrv2(given_entries):
    theirs = pytest.importorskip("btclib.p2p.addrv2", reason="btclib is not installed")
    parsed = theirs.AddrV2.parse(addresses.encode_addrv2(given_entries))
    assert [
        (entry.timestamp, int(entry.services), int(entry.network_id), entry.address, entry.port)
        for entry in parsed.addresses
    ] == given_entries


@given(st.lists(entries(IPV4, IPV6), max_size=20), st.lists(entries(TORV3, I2P), max_size=3))
def test_addr_carries_ipv4_and_ipv6_and_leaves_out_the_rest(given_entries, others):
    payload = addresses.encode_addr(others + given_entries)
    assert addresses.decode_addr(payload) == given_entries
    with pytest.raises(MalformedMessage):
        addresses.decode_addr(payload + b"\0")
    with pytest.raises(MalformedMessage):
        addresses.decode_addr(payload[:-1])


def test_the_bytes_of_addr_are_the_documented_ones():
    entry = NetworkAddress(0x4D1015E2, 1, IPV4, bytes([10, 0, 0, 1]), 8333)
    expected = "01e215104d010000000000000000000000000000000000ffff0a000001208d"
    assert addresses.encode_addr([entry]).hex() == expected


def test_networks_that_bip155_does_not_number_are_skipped_whatever_they_hold():
    good = entry_v2(IPV4, b"\x08\x08\x08\x08")
    payload = b"\x05" + entry_v2(0, b"") + good + entry_v2(99, bytes(512)) + entry_v2(255, b"abc") + good
    assert [entry.address for entry in addresses.decode_addrv2(payload)] == [b"\x08\x08\x08\x08"] * 2


@pytest.mark.parametrize(
    ("network", "address"),
    [
        (TORV2, bytes(10)),
        (IPV6, MAPPED + b"\x08\x08\x08\x08"),
        (IPV6, ONIONCAT + bytes(10)),
        (IPV6, INTERNAL + bytes(10)),
        (CJDNS, b"\xfd" + bytes(15)),
        (YGGDRASIL, b"\x04" + bytes(15)),
    ],
)
def test_addresses_that_are_not_of_their_network_are_left_out(network, address):
    assert addresses.decode_addrv2(b"\x01" + entry_v2(network, address)) == []


@pytest.mark.parametrize("network", sorted(ADDRESS_LENGTHS))
@pytest.mark.parametrize("off", [-1, 1])
def test_an_address_of_the_wrong_length_spoils_the_message(network, off):
    with pytest.raises(MalformedMessage, match=f"network {network}"):
        addresses.decode_addrv2(b"\x01" + entry_v2(network, bytes(ADDRESS_LENGTHS[network] + off)))


def test_an_address_over_512_bytes_spoils_the_message_even_on_unknown_networks():
    with pytest.raises(MalformedMessage, match="513"):
        addresses.decode_addrv2(b"\x01" + entry_v2(99, bytes(513)))


def test_services_are_a_canonical_compact_size_of_64_bits():
    wide = entry_v2(IPV4, bytes(4), b"\xff" + b"\xff" * 8)
    assert addresses.decode_addrv2(b"\x01" + wide)[0].services == 2**64 - 1
    with pytest.raises(MalformedMessage, match="shortest"):
        addresses.decode_addrv2(b"\x01" + entry_v2(IPV4, bytes(4), b"\xfd\x09\x00"))


@pytest.mark.parametrize("decode", [addresses.decode_addr, addresses.decode_addrv2])
def test_over_1000_addresses_are_too_many(decode):
    with pytest.raises(TooMany):
        decode(compact_size(1001) + bytes(40_000))


def test_over_1000_addresses_are_not_encoded():
    many = [NetworkAddress(0, 0, IPV4, bytes(4), 1)] * 1001
    for encode in (addresses.encode_addr, addresses.encode_addrv2):
        with pytest.raises(ValueError, match="hang up"):
            encode(many)
    with pytest.raises(ValueError, match="network 1"):
        addresses.encode_addrv2([NetworkAddress(0, 0, IPV4, bytes(5), 1)])


@given(entries(IPV4, IPV6, TORV3, I2P, CJDNS, YGGDRASIL).filter(lambda entry: entry.port))
def test_an_entry_becomes_a_peer_address_and_back(entry):
    address = addresses.peer_address(entry)
    assert address is not None
    assert PeerAddress.of(address.host, address.port) == address
    back = addresses.network_address(address, entry.services, entry.time)
    if entry.network == IPV6 and entry.address[0] in (0x02, 0x03, 0xFC):
        assert back is not None and back.network in (CJDNS, YGGDRASIL)
    else:
        assert back == entry


def test_onion_names_are_those_of_the_tor_specification():
    # The Tor Project's own onion service.
    name = "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion"
    entry = addresses.network_address(PeerAddress.of(name, 80), 0, 0)
    assert entry is not None and entry.network == TORV3
    assert addresses.peer_address(entry) == PeerAddress.of(name, 80)


@pytest.mark.parametrize(
    "host",
    [
        "seed.example.org",
        "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wie.onion",
        "expyuzz4wqqyqhjn.onion",
        "1" * 56 + ".onion",
        "b" * 52 + ".b32.i2p",
    ],
)
def test_names_that_stand_for_no_key_are_not_gossiped(host):
    assert addresses.network_address(PeerAddress.of(host, 8333), 0, 0) is None


def test_embedded_ipv6_is_not_gossiped():
    host = str(ipaddress.IPv6Address(ONIONCAT + bytes(10)))
    assert addresses.network_address(PeerAddress(host, 1), 0, 0) is None


def test_only_what_can_be_dialled_is_an_address():
    good = NetworkAddress(7, 9, IPV4, b"\x08\x08\x04\x04", 8333)
    told = (good._replace(port=0), good, NetworkAddress(7, 9, TORV2, bytes(10), 1))
    assert [addresses.peer_address(entry) for entry in told] == [None, PeerAddress("8.8.4.4", 8333), None]


@pytest.mark.parametrize("host", ["192.0.2.7", "2001:db8::7"])
def test_the_addresses_of_a_version_come_back(host):
    address = PeerAddress.of(host, 8333)
    raw = addresses.legacy_address(address, 9)
    assert len(raw) == 26 and raw[0] == 9 and addresses.read_legacy_address(raw) == address


@pytest.mark.parametrize("address", [None, PeerAddress.of("name.example", 1), PeerAddress.of("a" * 52 + ".b32.i2p", 1)])
def test_a_version_says_nothing_of_addresses_that_it_cannot_hold(address):
    raw = addresses.legacy_address(address)
    assert raw == bytes(26) and addresses.read_legacy_address(raw) is None


def test_an_embedded_address_in_a_version_is_no_address():
    assert addresses.read_legacy_address(bytes(8) + ONIONCAT + bytes(10) + b"\x20\x8d") is None
