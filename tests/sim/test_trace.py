"""The trace: what is in it, and that it tells any two runs apart that are not the same."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from p2pframe.sim.trace import Trace


class Way:
    def __init__(self, key):
        self.key = key
        self.label = key.decode("latin-1")


deliveries = st.lists(
    st.tuples(st.floats(0, 1e6), st.sampled_from([b"a>b#1", b"b>a#1", b"a>c#12"]), st.binary(max_size=8)), max_size=20
)


def digest(events, states=()):
    trace = Trace()
    for time, key, data in events:
        trace.delivery(time, Way(key), data)
    for name, state in states:
        trace.state(name, state)
    return trace.digest()


@given(deliveries, st.data())
def test_one_changed_byte_time_end_or_order_changes_it(events, data):
    whole = digest(events)
    assert digest(events) == whole
    if not events:
        return
    index = data.draw(st.integers(0, len(events) - 1))
    time, key, said = events[index]
    for other in (
        (time + 1.0, key, said),
        (time, key + b"2", said),
        (time, key, said + b"\0"),
        (time, key, bytes([said[0] ^ 1]) + said[1:] if said else b"x"),
    ):
        assert digest([*events[:index], other, *events[index + 1 :]]) != whole
    assert digest(events[:index] + events[index + 1 :]) != whole
    for left, (first, second) in enumerate(pairwise(events)):
        if first != second:
            assert digest([*events[:left], second, first, *events[left + 2 :]]) != whole


def test_bytes_do_not_move_between_deliveries_nor_from_a_state_to_a_name():
    assert digest([(1.0, b"a>b", b"xy")]) != digest([(1.0, b"a>b", b"x"), (1.0, b"a>b", b"y")])
    assert digest([(1.0, b"a>b", b"x")]) != digest([(1.0, b"a>", b"bx")])
    assert digest([], [("ab", b"c")]) != digest([], [("a", b"bc")])
    assert digest([], [("a", b"up")]) != digest([(0.0, b"a", b"up")])


def test_it_counts_and_tells_whoever_watches():
    trace, seen = Trace(), []
    trace.watcher = lambda *what: seen.append(what)
    trace.delivery(1.5, Way(b"a>b"), b"abc")
    trace.delivery(2.5, Way(b"b>a"), b"")
    assert (trace.deliveries, trace.bytes) == (2, 3)
    assert seen == [(1.5, "a>b", b"abc"), (2.5, "b>a", b"")]


def test_watching_and_looking_change_nothing():
    plain, watched = Trace(), Trace()
    watched.watcher = lambda *what: None
    for number in range(3000):
        plain.delivery(number, Way(b"a"), b"x")
        watched.delivery(number, Way(b"a"), b"x")
        watched.digest()
    assert plain.digest() == watched.digest() and plain.checkpoints == watched.checkpoints


def test_checkpoints_are_bounded_spread_and_part_where_runs_part():
    def run(changed_at):
        trace = Trace(every=2)
        for number in range(20_000):
            trace.delivery(float(number), Way(b"a"), b"y" if number == changed_at else b"x")
        return trace.checkpoints

    one, other = run(-1), run(15_000)
    assert 100 < len(one) < 1024 and len(one) == len(other)
    assert one[0][0] < 500 and one[-1][0] > 19_000
    [first] = [a for (a, b), (_, d) in zip(one, other, strict=True) if b != d][:1]
    assert 15_000 <= first < 15_000 + 20_000 / len(one) * 3
