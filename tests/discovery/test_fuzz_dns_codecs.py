"""Any bytes give messages of DNS or the errors that their modules name, and nothing else.

P2PFRAME_FUZZ=long makes each property run over 20,000 examples.
"""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from p2pframe.applications.dns_seed_server import wire as server
from p2pframe.discovery.dns_seed import message as answers
from p2pframe.discovery.mdns import wire as mdns
from tests.discovery.dns_messages import mdns_messages, mutated


@given(mdns_messages, st.data())
def test_fuzz_multicast_messages(message, data):
    multicast(data.draw(mutated(mdns.encode(message))))


@given(st.binary(max_size=600))
def test_fuzz_multicast_bytes(data):
    multicast(data)
    multicast(struct.pack("!6H", 0, 0x8400, 1, 3, 0, 1) + data)


def multicast(data):
    try:
        message = mdns.parse(data)
    except mdns.MdnsError:
        return
    for one in (*message.answers, *message.additional) if message else ():
        mdns.read_srv(one), mdns.read_target(one), mdns.read_txt(one), mdns.read_address(one)
    if message is not None:
        assert mdns.parse(mdns.encode(message)) == message


@given(mdns_messages, st.data())
def test_fuzz_answers_of_dns(message, data):
    answer(data.draw(mutated(mdns.encode(message._replace(response=True)))))


@given(st.binary(max_size=600))
def test_fuzz_bytes_as_answers(data):
    answer(data)
    answer(struct.pack("!6H", 7, 0x8400, 1, 3, 0, 1) + data)


def answer(data):
    try:
        message = answers.parse(data)
    except ValueError:
        return
    assert len(message.answers) + message.others + len(message.additional) <= len(data)
    assert all(len(record.owner) <= 255 for record in (*message.answers, *message.additional))


@given(mdns_messages, st.data())
def test_fuzz_questions_to_the_seed_server(message, data):
    question(data.draw(mutated(mdns.encode(message._replace(response=False, answers=(), authorities=())))))


@given(st.binary(max_size=300))
def test_fuzz_bytes_as_questions(data):
    question(data)
    question(struct.pack("!6H", 7, 0, 1, 0, 0, 1) + data)


def question(data):
    try:
        query = server.parse_query(data)
    except server.Malformed as error:
        assert len(server.error(error)) == 12
        return
    if query is not None:
        assert server.truncated(query)[:2] == data[:2]
