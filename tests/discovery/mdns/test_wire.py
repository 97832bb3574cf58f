"""The codec of multicast DNS: what it writes it reads, and of anything else it says why not, soon."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from twisted.names import dns

from p2pframe.discovery.mdns import wire
from p2pframe.discovery.mdns.wire import MdnsError, Message, Question, Record
from tests.discovery.dns_messages import mdns_messages
from tests.work import Work


@given(mdns_messages)
def test_what_is_written_is_read(message):
    assert wire.parse(wire.encode(message)) == message


def test_twisted_names_reads_ours_and_we_read_its():
    name = (b"me", b"_p2p", b"_tcp", b"local")
    ours = Message(
        True, [Question(name, wire.SRV)],
        [Record(name, wire.SRV, 120, wire.srv_data(8333, (b"host", b"local")), True)],
        additional=[Record((b"host", b"local"), wire.A, 120, wire.address_data("192.0.2.7"), True)],
    )  # fmt: skip
    theirs = dns.Message()
    theirs.fromStr(wire.encode(ours))
    assert (theirs.answers[0].payload.port, theirs.answers[0].payload.target.name) == (8333, b"host.local")
    assert theirs.answers[0].cls == 0x8001
    again = dns.Message(answer=1, auth=1, maxSize=0)
    again.answers = [dns.RRHeader(b"_p2p._tcp.local", dns.PTR, dns.IN, 9, dns.Record_PTR(b"me._p2p._tcp.local"))]
    (read,) = wire.parse(again.toStr()).answers
    assert read == Record(name[1:], wire.PTR, 9, wire.name_data(name))


HEAD = struct.pack("!6H", 0, 0x8400, 0, 1, 0, 0)


@pytest.mark.parametrize(
    ("what", "data"),
    [
        ("points at itself", HEAD + b"\xc0\x0c" + bytes(10)),
        ("points at itself", HEAD + b"\xc0\x0e\xc0\x0c" + bytes(10)),
        ("points at itself", HEAD + b"\xff\xff" + bytes(10)),
        ("a label of a kind", HEAD + b"\x40" + bytes(80)),
        ("a label of a kind", HEAD + b"\xbf" + bytes(200)),
        ("longer than 255", HEAD + (b"\x3f" + b"a" * 63) * 5 + bytes(20)),
        ("longer than 255", HEAD + b"\x3fabc"),
        ("ends within", HEAD + b"\0\0\1"),
        ("beyond the message", HEAD + b"\0" + struct.pack("!2HIH", wire.TXT, 1, 9, 65_535)),
        ("too short for the name", HEAD + b"\0" + struct.pack("!2HIH", wire.SRV, 1, 9, 3) + b"abc"),
        ("longer or shorter", HEAD + b"\0" + struct.pack("!2HIH", wire.PTR, 1, 9, 3) + b"\0bc"),
        ("more than 1000", struct.pack("!6H", 0, 0, 65_535, 0, 0, 0)),
        ("no message of 12 to 9000", b"\0" * 11),
        ("no message of 12 to 9000", bytes(9001)),
    ],
)
def test_what_is_malformed_is_named(what, data):
    with pytest.raises(MdnsError, match=what):
        wire.parse(data)


def test_no_message_takes_long_to_read():
    """Names whose pointers lead on from one to the next, each as long as may be."""
    chain = b"".join(struct.pack("!H", 0xC000 | 12 + max(0, 2 * n - 2)) for n in range(3000))
    body = b"\0\0" + chain[2:]
    question = struct.pack("!H", 0xC000 | 12 + len(body) - 2) + struct.pack("!2H", 12, 1)
    data = struct.pack("!6H", 0, 0, 500, 0, 0, 0) + body + question * 490
    with Work(5_000), pytest.raises(MdnsError):
        wire.parse(data[:9000])


@pytest.mark.parametrize("flags", [0x2800, 0x8403, 0x0001])
def test_other_operations_and_errors_are_ignored(flags):
    assert wire.parse(struct.pack("!6H", 0, flags, 0, 0, 0, 0)) is None


def test_records_of_other_classes_are_left_out():
    data = HEAD + b"\1a\0" + struct.pack("!2HIH", wire.TXT, 3, 9, 1) + b"\0"
    assert wire.parse(data).answers == []


def test_what_can_not_be_written_is_refused():
    with pytest.raises(ValueError, match="1 to 63 bytes"):
        wire.name_data((b"a" * 64,))
    with pytest.raises(ValueError, match="255 bytes"):
        wire.name_data((b"a" * 63,) * 4)
    with pytest.raises(ValueError, match="255 bytes"):
        wire.txt_data(["a" * 256])


def test_texts_and_bitmaps():
    assert wire.txt_data([]) == b"\0"
    assert wire.read_txt(Record((), wire.TXT, 1, b"\3A=1\3a=2\1b\2=x\7c=")) == {"a": "1", "b": "", "c": ""}
    assert wire.nsec_data((b"a",), [wire.A, wire.AAAA]) == b"\1a\0\0\4\x40\0\0\x08"
    assert wire.read_srv(Record((), wire.SRV, 1, b"123")) is None
    assert wire.read_address(Record((), wire.A, 1, b"123")) is None


def test_lots_fit():
    lots = wire.packed([Record((b"a" * 60,), wire.TXT, 1, bytes(size)) for size in (100, 300, 700, 900, 5000, 1)], 1200)
    assert all(sum(map(wire.size, lot)) <= 1200 or len(lot) == 1 for lot in lots)
    assert len(lots) == 5
