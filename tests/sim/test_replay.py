"""Replay: what happened around a time, and to an item; and that looking on changes nothing."""

from __future__ import annotations

from functools import partial

import pytest
from twisted.internet.task import LoopingCall

from p2pframe.errors import P2PFrameError
from p2pframe.sim.replay import around, of_item, parse_id
from p2pframe.sim.results import FaultNote
from p2pframe.sim.run import Job, Watch, run
from p2pframe.sim.watch import Item, decoded, described, faults_between, name_of, receiver

SCENARIO = """\
version: 1
seed: 5
duration: 60s
hosts: {nodes: {node: node.yaml, count: 5, start: 2s, override: {applications: [{plugin: bitcoin-workload,
  network: bitcoin}]}}}
graph: [{network: bitcoin, kind: line}]
timeline:
  - {at: 20s, do: kill, hosts: {names: [nodes-4]}, back_after: 10s}
workload: [{produce: tx, every: 4s, from: [nodes], network: bitcoin, size: 250, start: 10s, stop: 19s}]
measures: {propagation: {network: bitcoin, topics: [tx]}}
"""


@pytest.fixture
def job(scenarios):
    return Job(str(scenarios.write("scenario.yaml", SCENARIO)))


def test_around_a_time_are_deliveries_with_what_they_say_timers_and_faults(job):
    plain = run(job)
    result, lines = around(job, 20.0, 12.0)
    assert result.trace == plain.trace
    times = [float(line.split()[0]) for line in lines]
    assert times == sorted(times)
    assert times[0] >= 14.0 and times[-1] <= 26.0
    deliveries = [line for line in lines if " > " in line]
    assert any(line.endswith("  bitcoin inv") for line in deliveries)
    assert any("  272 B  fabfb5da7478" in line and line.endswith("  bitcoin tx") for line in deliveries)
    assert any(line.endswith("  FIN") for line in deliveries), "the killed host's connections"
    assert any("nodes-0  timer  core.timers.Timers._tick" in line for line in lines)
    assert sum("  fault 1  kill nodes-4" in line for line in lines) == 1
    assert not any("object at 0x" in line for line in lines)


def test_a_window_without_events_has_no_lines(job):
    assert around(job, 0.5, 1e-6)[1] == []


def test_an_item_is_followed_from_its_maker_to_everyone(job):
    taken = []
    run(job, watch=Watch(items=lambda time, host, topic, id, source: taken.append((time, host.name, id))))
    first = taken[0][2]
    hosts = [name for _, name, id in taken if id == first]
    result, lines = of_item(job, first)
    told = [line for line in lines if "takes the tx" in line]
    assert [line.split()[1] for line in told] == hosts
    assert "made here" in told[0] and all("from nodes-" in line for line in told[1:])
    held = [line for line in lines if "has the id" in line]
    assert any("bitcoin" not in line and "as given" in line for line in held)
    assert len(held) >= 2 * (len(hosts) - 1), "each was told, and asked"
    # People know it by its bytes the other way round.
    assert [line.split("  ")[:2] for line in of_item(job, first[::-1])[1]] == [line.split("  ")[:2] for line in lines]


def test_an_item_that_nobody_knows_has_no_lines(job):
    assert of_item(job, b"\x01" * 32)[1] == []


@pytest.mark.parametrize("text", ["", "xyz", "00", "abc", "0x00112233"])
def test_what_is_no_id_is_told(text):
    with pytest.raises(P2PFrameError, match="is no id"):
        parse_id(text)


def test_an_id_across_two_segments_is_seen_once():
    look = Item(bytes(range(32)))
    for piece in (b"head" + bytes(range(10)), bytes(range(10, 31)), bytes([31]) + b"tail", b"more"):
        look.watch.deliveries(1.0, "a:1 > b:2 tcp", piece)
    last = described(bytes([31]) + b"tail")
    assert [seen.text for seen in look.seen] == [f"a:1 > b:2 tcp  {last}  has the id, as given"]


def test_an_id_is_not_put_together_from_two_streams_or_datagrams():
    look = Item(bytes(range(32)))
    look.watch.deliveries(1.0, "a:1 > b:2 tcp", bytes(range(16)))
    look.watch.deliveries(1.0, "a:1 > c:2 tcp", bytes(range(16, 32)))
    look.watch.deliveries(2.0, "a:9 > b:9 udp", bytes(range(16)))
    look.watch.deliveries(2.0, "a:9 > b:9 udp", bytes(range(16, 32)))
    look.watch.deliveries(3.0, "a:1 > b:2 tcp", b"FIN")
    look.watch.deliveries(3.0, "a:1 > b:2 tcp", bytes(range(16, 32)))
    assert look.seen == []
    look.watch.deliveries(4.0, "a:9 > b:9 udp", b"".join([bytes(range(32))] * 2))
    assert "has the id 2 times, as given" in look.seen[0].text


def test_the_receiver_is_read_from_the_ends():
    assert receiver("nodes-1:49153 > nodes-2:18444 tcp") == "nodes-2"
    assert receiver("2001:db8::1:49153 > 2001:db8::2:18444 udp") == "2001:db8::2"


def test_what_was_decoded_is_the_difference_of_the_counts():
    assert decoded({"a inv": 1, "a tx": 2}, {"a inv": 2, "a tx": 2, "a ping": 3}) == "a inv, a ping x3"
    assert decoded({"a inv": 9}, {"a inv": 1}) == ""


def test_a_timer_has_the_name_of_what_it_is_for():
    class Ticker:
        def tick(self): ...

    mine = "tests.sim.test_replay.test_a_timer_has_the_name_of_what_it_is_for.<locals>.Ticker.tick"
    for function in (Ticker().tick, partial(Ticker().tick), LoopingCall(partial(Ticker().tick))):
        assert name_of(function) == mine


def test_faults_are_told_of_where_they_begin_and_end():
    faults = [FaultNote(1, 5.0, 9.0, "partition"), FaultNote(2, 7.0, None, "kill"), FaultNote(3, 20.0, 21.0, "cut")]
    assert [(seen.time, seen.text) for seen in faults_between(faults, 6.0, 10.0)] == [
        (9.0, "fault 1  over: partition"), (7.0, "fault 2  kill"),
    ]  # fmt: skip
