"""KRPC messages: the examples of the BEPs byte for byte, and one stable word for each way not to be a message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pframe.model import PeerAddress
from p2pframe.protocols.mainline import krpc
from p2pframe.protocols.mainline.bencode import Bencoded, encode
from p2pframe.protocols.mainline.krpc import Malformed, Query, Refusal, Response, parse

OWN = b"abcdefghij0123456789"
OTHER = b"mnopqrstuvwxyz123456"
NUMBER = int.from_bytes(OWN, "big")

QUERIES = [
    (b"ping", {}, b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe"),
    (
        b"find_node", {b"target": OTHER},
        b"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456e1:q9:find_node1:t2:aa1:y1:qe",
    ),
    (
        b"get_peers", {b"info_hash": OTHER},
        b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456e1:q9:get_peers1:t2:aa1:y1:qe",
    ),
    (
        b"announce_peer", {b"implied_port": 1, b"info_hash": OTHER, b"port": 6881, b"token": b"aoeusnth"},
        b"d1:ad2:id20:abcdefghij012345678912:implied_porti1e9:info_hash20:mnopqrstuvwxyz1234564:porti6881e5:token8:"
        b"aoeusnthe1:q13:announce_peer1:t2:aa1:y1:qe",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("method", "arguments", "datagram"), QUERIES)
def test_the_queries_of_bep_5(method, arguments, datagram):
    assert krpc.query(b"aa", method, OWN, arguments) == datagram
    query = parse(datagram)
    assert isinstance(query, Query)
    assert (query.transaction, query.method, query.id, query.version, query.read_only) == (
        b"aa", method, NUMBER, b"", False
    )  # fmt: skip
    assert query.arguments == {**arguments, b"id": OWN}


RESPONSES = [
    ({}, b"d1:rd2:id20:abcdefghij0123456789e1:t2:aa1:y1:re"),
    ({b"nodes": b"def456..."}, b"d1:rd2:id20:abcdefghij01234567895:nodes9:def456...e1:t2:aa1:y1:re"),
    (
        {b"token": b"aoeusnth", b"values": [b"axje.u", b"idhtnm"]},
        b"d1:rd2:id20:abcdefghij01234567895:token8:aoeusnth6:valuesl6:axje.u6:idhtnmee1:t2:aa1:y1:re",
    ),
]


@pytest.mark.parametrize(("values", "datagram"), RESPONSES)
def test_the_responses_of_bep_5(values, datagram):
    values = {**values, b"id": OWN}
    assert krpc.response(b"aa", values) == datagram
    response = parse(datagram)
    assert isinstance(response, Response)
    assert (response.transaction, response.id, response.values, response.ip) == (b"aa", NUMBER, values, None)
    assert krpc.transaction_of(datagram) == b"aa"


def test_the_error_of_bep_5():
    datagram = b"d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee"
    assert krpc.refusal(b"aa", krpc.GENERIC_ERROR, "A Generic Error Ocurred") == datagram
    refusal = parse(datagram)
    assert isinstance(refusal, Refusal)
    assert (refusal.transaction, refusal.code, refusal.text) == (b"aa", 201, "A Generic Error Ocurred")
    assert krpc.transaction_of(datagram) == b"aa"


@given(
    st.binary(max_size=32), st.binary(max_size=32), st.sampled_from([b"", b"\1\2\3\4\5\6", b"x" * 18]),
    st.dictionaries(st.binary(max_size=5), st.binary(max_size=30), max_size=4),
)  # fmt: skip
def test_what_is_written_is_canonical_and_read_again(transaction, version, ip, values):
    query = krpc.query(transaction, b"get", OWN, values, version, True)
    values = {**values, b"id": OWN}
    top = {b"t": transaction} | ({b"v": version} if version else {})
    seen = {b"ip": ip} if ip else {}
    assert query == encode({b"a": values, b"q": b"get", b"ro": 1, b"y": b"q", **top})
    response = krpc.response(transaction, values, ip, version)
    assert response == encode({b"r": values, b"y": b"r", **top, **seen})
    refusal = krpc.refusal(transaction, 203, "no\u00e9", ip, version)
    assert refusal == encode({b"e": [203, "no\u00e9".encode()], b"y": b"e", **top, **seen})
    read = parse(query)
    assert (read.transaction, read.version, read.read_only, read.arguments) == (transaction, version, True, values)
    assert krpc.transaction_of(query) is None
    for datagram in (response, refusal):
        reply = parse(datagram)
        assert reply.transaction == krpc.transaction_of(datagram) == transaction
        assert (reply.ip is not None) == bool(ip)


@given(
    st.binary(max_size=32), st.binary(min_size=20, max_size=20), st.integers(0, 8), st.binary(max_size=9),
    st.sampled_from([6, 18]),
)  # fmt: skip
def test_what_is_told_is_the_response_that_a_dictionary_makes(transaction, own, nodes, token, width):
    packed, ip = bytes(26) * nodes, bytes(width)
    values = {b"id": own, b"nodes": packed, b"token": token}
    assert krpc.told(transaction, own, packed, token, ip, b"p2\0\1") == krpc.response(
        transaction, values, ip, b"p2\0\1"
    )


def test_a_checked_item_is_sent_as_it_was_stored():
    assert krpc.response(b"aa", {b"id": OWN, b"v": Bencoded(b"li1ee")}) == krpc.response(b"aa", {b"id": OWN, b"v": [1]})


@pytest.mark.parametrize(
    ("packed", "seen"),
    [
        (b"\xc0\0\2\7\x1a\xe1", PeerAddress("192.0.2.7", 6881)),
        (bytes.fromhex("20010db8000000000000000000000007") + b"\x1a\xe1", PeerAddress("2001:db8::7", 6881)),
        (bytes(10) + b"\xff\xff\xc0\0\2\7\x1a\xe1", PeerAddress("192.0.2.7", 6881)),
        (b"\xc0\0\2\7", None), (b"", None), (b"192.0.2.7", None), (5, None), ([], None),
    ],
)  # fmt: skip
def test_how_we_are_seen(packed, seen):
    assert parse(encode({b"t": b"aa", b"y": b"r", b"r": {b"id": OWN}, b"ip": packed})).ip == seen
    assert parse(encode({b"t": b"aa", b"y": b"e", b"e": [201, b""], b"ip": packed})).ip == seen


@pytest.mark.parametrize(("flag", "read_only"), [(1, True), (0, False), (2, False), (b"1", False), ([], False)])
def test_only_one_is_read_only(flag, read_only):
    datagram = encode({b"t": b"aa", b"y": b"q", b"q": b"ping", b"a": {b"id": OWN}, b"ro": flag})
    assert parse(datagram).read_only is read_only


@pytest.mark.parametrize(("version", "kept"), [(b"LT\1\2", b"LT\1\2"), (b"x" * 33, b""), (5, b""), ([], b"")])
def test_a_version_is_kept_where_it_is_one(version, kept):
    datagram = encode({b"t": b"aa", b"y": b"q", b"q": b"ping", b"a": {b"id": OWN}, b"v": version})
    assert parse(datagram).version == kept


def test_the_keys_of_the_frame_may_be_in_any_order_and_those_of_an_item_may_not():
    frame = b"d1:y1:q1:t2:aa1:ad6:target20:mnopqrstuvwxyz1234562:id20:abcdefghij0123456789%be1:q3:pute"
    assert parse(frame % b"").arguments == {b"id": OWN, b"target": OTHER}
    assert parse(frame % b"1:vd1:a0:1:b0:e").arguments[b"v"] == {b"a": b"", b"b": b""}
    with pytest.raises(Malformed, match="bencoding"):
        parse(frame % b"1:vd1:b0:1:a0:e")


GOOD = {
    b"q": {b"t": b"aa", b"y": b"q", b"q": b"ping", b"a": {b"id": OWN}},
    b"r": {b"t": b"aa", b"y": b"r", b"r": {b"id": OWN}},
    b"e": {b"t": b"aa", b"y": b"e", b"e": [201, b"no"]},
}
LEFT_OUT = object()
NONSENSE = [LEFT_OUT, 5, b"", b"?", b"x" * 1000, [], {}, [5], {b"id": 5}]


@pytest.mark.parametrize(
    ("kind", "key", "nonsense", "reason"),
    [
        *(
            (kind, b"t", wrong, "transaction")
            for kind in GOOD for wrong in (LEFT_OUT, 5, [], {}, b"x" * 33, b"x" * 1000)
        ),
        *((kind, b"y", wrong, "kind") for kind in GOOD for wrong in NONSENSE),
        *((b"q", b"q", wrong, "method") for wrong in (LEFT_OUT, 5, [], {}, b"", b"x" * 65)),
        *((b"q", b"a", wrong, "arguments") for wrong in (LEFT_OUT, 5, [], b"")),
        *((b"r", b"r", wrong, "values") for wrong in (LEFT_OUT, 5, [], b"")),
        *(
            (kind, key, wrong, "id")
            for kind, key in ((b"q", b"a"), (b"r", b"r"))
            for wrong in ({}, {b"id": 5}, {b"id": b""}, {b"id": OWN[1:]}, {b"id": OWN + b"x"}, {b"id": [OWN]})
        ),
        *(
            (b"e", b"e", wrong, "error")
            for wrong in (LEFT_OUT, 5, b"no", {}, [], [201], [b"201", b"no"], [201, 5], [[201], b"no"])
        ),
    ],
)  # fmt: skip
def test_each_malformed_message_has_its_reason(kind, key, nonsense, reason):
    message = {name: value for name, value in GOOD[kind].items() if name != key}
    if nonsense is not LEFT_OUT:
        message[key] = nonsense
    with pytest.raises(Malformed) as error:
        parse(encode(message))
    assert error.value.reason == str(error.value) == reason
    # A query whose transaction is known may be refused; a reply is never answered.
    assert error.value.transaction == (b"aa" if kind == b"q" and reason in ("method", "arguments", "id") else None)


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"", "bencoding"), (b"d", "bencoding"), (b"GET / HTTP/1.1\r\n", "bencoding"), (b"le", "no dictionary"),
        (b"i1e", "no dictionary"), (b"4:spam", "no dictionary"), (b"de", "transaction"),
        (b"d1:t2:aa1:t2:bb1:y1:re", "bencoding"), (b"d1:rd2:id20:abcdefghij0123456789e1:t2:aa1:y1:rex", "bencoding"),
        (b"d" * 65_507, "bencoding"), (b"l" * 65_507, "bencoding"), (b"d1:al" + b"le" * 32_000 + b"e", "bencoding"),
        (b"d1:ai" + b"1" * 65_000 + b"ee", "bencoding"), (b"d1:t65000:aa", "bencoding"),
    ],
)  # fmt: skip
def test_what_is_no_message_at_all(datagram, reason):
    with pytest.raises(Malformed) as error:
        parse(datagram)
    assert (error.value.reason, error.value.transaction) == (reason, None)


def test_a_message_as_large_as_a_datagram_is_read():
    frame = krpc.query(b"aa", b"ping", OWN, {b"x": b""})
    room = 65_507 - len(frame) - 4
    datagram = krpc.query(b"aa", b"ping", OWN, {b"x": b"\0" * room})
    assert len(datagram) == 65_507
    assert len(parse(datagram).arguments[b"x"]) == room


def test_the_text_of_an_error_is_bounded_and_always_text():
    refusal = parse(encode({b"t": b"aa", b"y": b"e", b"e": [203, b"\xff" + b"x" * 5000, b"more"]}))
    assert refusal.text == "\ufffd" + "x" * 255


@pytest.mark.parametrize(
    ("datagram", "transaction"),
    [
        (b"d1:t2:aa1:y1:r1:rd2:id20:abcdefghij0123456789ee", b"aa"),
        (b"d1:t2:aa1:y1:e1:eli201e2:noee", b"aa"),
        (b"d1:rd2:id20:abcdefghij0123456789e1:t0:1:y1:re", b""),
        # The transaction, and the version, look like keys themselves.
        (b"d1:rd2:id20:abcdefghij0123456789e1:t10:1:t2:aa1:y1:v4:1:t01:y1:re", b"1:t2:aa1:y"),
        (b"d1:rd2:id20:abcdefghij0123456789e1:t2:aa1:v7:1:t3:aa1:y1:re", b"aa"),
        (b"d1:t2:aa1:y1:q1:q4:ping1:ad2:id20:abcdefghij0123456789ee", None),
        (b"d1:rd2:id20:abcdefghij0123456789e1:t33:" + b"x" * 33 + b"1:y1:re", None),
        (b"d1:t99:aa1:y1:r", None), (b"d1:t2a1:y1:r", None), (b"1:y1:re", None), (b"1:t1:y1:re", None), (b"", None),
        (b"d1:t:1:y1:re", None), (b"d1:t2:a", None), (b"d1:t2:aa1:v9:x1:y1:re", None), (b"\0" * 100 + b"1:y1:re", None),
    ],
)  # fmt: skip
def test_the_transaction_is_found_without_decoding(datagram, transaction):
    assert krpc.transaction_of(datagram) == transaction
