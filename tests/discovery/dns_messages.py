"""Messages of DNS, drawn by hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from p2pframe.discovery.mdns import wire
from p2pframe.discovery.mdns.wire import Message, Question, Record

labels = st.binary(min_size=1, max_size=63)
names = st.lists(labels, min_size=1, max_size=5).map(tuple).filter(lambda name: sum(map(len, name)) + len(name) < 255)


def record(name, type, ttl, data, flush):
    return Record(name, type, ttl, data, flush)


ttls = st.integers(0, 2**32 - 1)
records = st.one_of(
    st.builds(record, names, st.just(wire.PTR), ttls, names.map(wire.name_data), st.booleans()),
    st.builds(
        lambda name, port, target, ttl: Record(name, wire.SRV, ttl, wire.srv_data(port, target), True),
        names, st.integers(0, 65535), names, ttls,
    ),
    st.builds(
        record, names, st.sampled_from([wire.A, wire.AAAA, wire.TXT, 99]), ttls, st.binary(max_size=80), st.booleans()
    ),
)  # fmt: skip
mdns_messages = st.builds(
    Message,
    st.booleans(),
    st.lists(st.builds(Question, names, st.integers(0, 65535), st.booleans()), max_size=4),
    st.lists(records, max_size=4), st.lists(records, max_size=4), st.lists(records, max_size=4),
    st.booleans(), st.integers(0, 65535),
)  # fmt: skip


@st.composite
def mutated(draw, data):
    """The bytes with a few of them changed, left out, doubled, or turned into pointers."""
    encoded = bytearray(data)
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, max(0, len(encoded) - 1)))
        change = draw(st.sampled_from(["set", "cut", "double", "point"]))
        if change == "set" and encoded:
            encoded[at] = draw(st.integers(0, 255))
        elif change == "cut":
            del encoded[at:]
        elif change == "double":
            encoded[at:at] = encoded[at : at + 40]
        elif change == "point":
            encoded[at : at + 2] = (0xC000 | draw(st.integers(0, 0x3FFF))).to_bytes(2, "big")
    return bytes(encoded)
