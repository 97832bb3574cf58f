"""inv, getdata, notfound, headers, getheaders, getblocks."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pframe.protocols.bitcoin import inventory
from p2pframe.protocols.bitcoin.inventory import Locator
from p2pframe.protocols.bitcoin.wire import MalformedMessage, TooMany, compact_size

hashes = st.binary(min_size=32, max_size=32)
kinds = st.sampled_from([1, 2, 5, 1 << 30 | 1, 1 << 30 | 2, 0, 0xFFFFFFFF, 0x01010101])
entries = st.lists(st.tuples(kinds, hashes), max_size=300)


@given(entries)
def test_entries_come_back_in_their_order(given_entries):
    payload = inventory.encode_entries(given_entries)
    assert inventory.decode_entries(payload) == given_entries
    with pytest.raises(MalformedMessage):
        inventory.decode_entries(payload + b"\0")
    with pytest.raises(MalformedMessage):
        inventory.decode_entries(payload[:-1])


@given(entries)
def test_ids_come_grouped_by_kind(given_entries):
    expected: dict[int, list[bytes]] = {}
    for kind, identity in given_entries:
        expected.setdefault(kind, []).append(identity)
    found = inventory.decode_inventory(inventory.encode_entries(given_entries))
    assert found == expected and list(found) == list(expected)


@given(kinds, st.lists(hashes, max_size=300))
def test_ids_of_one_kind_are_encoded_as_entries_are(kind, ids):
    payload = inventory.encode_ids(kind, ids)
    assert payload == inventory.encode_entries([(kind, identity) for identity in ids])
    assert inventory.decode_inventory(payload) == ({kind: ids} if ids else {})


@given(entries.filter(bool))
def test_btclib_reads_the_same_entries(given_entries):
    theirs = pytest.importorskip("btclib.p2p.inventory", reason="btclib is not installed")
    payload = inventory.encode_entries(given_entries)
    parsed = theirs.Inv.parse(payload, check_validity=False)
    assert [(int(entry.type_code), entry.hash[::-1]) for entry in parsed.items] == given_entries


@given(st.lists(st.binary(min_size=80, max_size=80), max_size=50))
def test_headers_come_back(headers):
    payload = inventory.encode_headers(headers)
    assert inventory.decode_headers(payload) == headers
    if headers:
        with pytest.raises(MalformedMessage, match="transactions"):
            inventory.decode_headers(payload[:-1] + b"\x01")
        with pytest.raises(MalformedMessage):
            inventory.decode_headers(payload[:-1])


locators = st.builds(Locator, st.integers(0, 2**32 - 1), st.lists(hashes, max_size=101), hashes)


@given(locators, st.data())
def test_a_locator_comes_back_and_no_part_of_it_is_one(locator, data):
    payload = inventory.encode_locator(locator)
    assert inventory.decode_locator(payload) == locator
    with pytest.raises(MalformedMessage):
        inventory.decode_locator(payload[: data.draw(st.integers(0, len(payload) - 1))])
    with pytest.raises(MalformedMessage, match="too many"):
        inventory.decode_locator(payload + b"\0")


@given(locators)
def test_btclib_reads_the_same_locator(locator):
    theirs = pytest.importorskip("btclib.p2p.inventory", reason="btclib is not installed")
    payload = inventory.encode_locator(locator)
    assert theirs.GetHeaders.parse(payload, check_validity=False).serialize(check_validity=False) == payload


LISTS = [
    (inventory.decode_inventory, inventory.MAX_INVENTORY),
    (inventory.decode_entries, inventory.MAX_INVENTORY),
    (inventory.decode_headers, inventory.MAX_HEADERS),
    (lambda payload: inventory.decode_locator(bytes(4) + payload), inventory.MAX_LOCATOR),
]


@pytest.mark.parametrize(("decode", "limit"), LISTS)
def test_one_entry_over_the_limit_is_too_many_before_anything_is_built(decode, limit):
    payload = compact_size(limit + 1) + bytes(81 * (limit + 1))
    tracemalloc.start()
    with pytest.raises(TooMany) as caught:
        decode(payload)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The locator's own test puts 4 bytes in front, which copies the payload.
    assert peak < 10_000 + (len(payload) + 100 if limit == 101 else 0)
    assert (caught.value.count, caught.value.limit) == (limit + 1, limit)


@pytest.mark.parametrize(("decode", "limit"), LISTS)
def test_a_count_without_its_entries_is_malformed(decode, limit):
    with pytest.raises(MalformedMessage):
        decode(compact_size(limit) + bytes(10))
    with pytest.raises(MalformedMessage):
        decode(b"")


def test_a_full_message_is_read():
    ids = [number.to_bytes(32, "little") for number in range(inventory.MAX_INVENTORY)]
    assert inventory.decode_inventory(inventory.encode_ids(5, ids)) == {5: ids}
    headers = [bytes(80)] * inventory.MAX_HEADERS
    assert inventory.decode_headers(inventory.encode_headers(headers)) == headers


def test_what_peers_would_hang_up_on_is_not_encoded():
    for encode in (
        lambda: inventory.encode_ids(1, [bytes(32)] * 50_001),
        lambda: inventory.encode_entries([(1, bytes(32))] * 50_001),
        lambda: inventory.encode_headers([bytes(80)] * 2001),
        lambda: inventory.encode_locator(Locator(1, [bytes(32)] * 102)),
    ):
        with pytest.raises(ValueError, match="hang up"):
            encode()


an_entry = st.tuples(st.integers(0, 2**32 - 1), st.binary(min_size=32, max_size=32))


@given(st.lists(st.lists(an_entry, max_size=8), max_size=5))
def test_a_queue_of_entries_gives_what_the_messages_held_in_their_order_up_to_its_room(messages):
    queue, expected, limit = inventory.EntryQueue(), [], 12
    for entries in messages:
        room = limit - len(queue)
        left_out = queue.extend(inventory.encode_entries(entries), room)
        assert left_out == max(0, len(entries) - room)
        expected += entries[:room]
        assert len(queue) == len(expected)
        if expected:
            assert queue.popleft() == expected.pop(0)
    assert [queue.popleft() for _ in range(len(queue))] == expected
    with pytest.raises(IndexError):
        queue.popleft()
