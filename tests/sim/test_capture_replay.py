"""A capture of a live conversation, played to a fresh node: the same messages, the same verdict, the same reason."""

from __future__ import annotations

import json
import os
import shutil
import struct
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p2pframe.admin import Admin
from p2pframe.capture_file import MAGIC as FORMAT
from p2pframe.capture_file import CaptureError, Record, encode_head, encode_record
from p2pframe.cli import main
from p2pframe.errors import ConfigError, P2PFrameError
from p2pframe.model import PeerAddress
from p2pframe.protocols.bitcoin.chains import CHAINS
from p2pframe.protocols.bitcoin.frame import frame
from p2pframe.sim.capture_replay import replay
from p2pframe.sim.simulation import EPOCH
from p2pframe.testing.simulation import NodeSimulation
from tests.bitcoin.chain_makers import mine
from tests.sim.captures import BAD_HEADERS, MAGIC, OTHER, PING, THERE, Talk

NODE = """\
version: 1
networks:
  bitcoin:
    protocol: {plugin: bitcoin, chain: regtest}
    transports: [{plugin: tcp, listen: ["0.0.0.0:18444"]}]
"""
LINES = """\
version: 1
node: {plugin_path: [%s]}
networks:
  chat:
    protocol: {plugin: lines}
    transports: [{plugin: tcp, listen: ["%s"]}]
    upgrades: [{plugin: psk, key_file: key}]
"""


@pytest.fixture
def plugins(tmp_path):
    """The examples, in a folder that nobody else may write: plugins are trusted."""
    folder = tmp_path / "plugins"
    shutil.copytree(Path(__file__).parents[2] / "plugins", folder, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


@pytest.fixture
def node(tmp_path):
    path = tmp_path / "node.yaml"
    path.write_text(NODE)
    return path


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    """A peer that says hello, pings, and then sends a header that no work stands behind."""
    return Talk(tmp_path_factory.mktemp("talk"), NODE, [PING, BAD_HEADERS])


def facts(replayed):
    return [(one.kind, one.evidence, one.action, one.rule, one.effect) for one in replayed.facts]


def heard(story):
    return [(one.fact.kind, one.fact.evidence, one.action, one.rule, one.effect) for one in story.facts]


@pytest.mark.parametrize("pace", ["real", "as-fast"])
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("dialled", [False, True])
def test_a_played_capture_has_the_messages_and_the_verdict_that_it_had(tmp_path, node, late, dialled, pace):
    talk = Talk(tmp_path, NODE, [PING, BAD_HEADERS], dialled=dialled, late=late)
    replayed = replay(node, talk.write(), pace=pace)
    assert replayed.messages_in == dict(sorted(talk.story.session.messages_in.items()))
    assert replayed.messages_in["headers"] == 2
    assert (replayed.ended.reason, replayed.ended.evidence) == (talk.story.reason, talk.story.evidence)
    assert replayed.ended.reason == "bad-headers"
    assert facts(replayed) == heard(talk.story)
    assert facts(replayed)[0][2:] == ("discourage", "floor", "spared" if dialled else "acted-on")
    assert [(one.subject, one.rule, one.reason) for one in replayed.penalties] == [
        (one.subject, one.rule, one.reason) for one in talk.penalties
    ]
    assert len(replayed.penalties) == (0 if dialled else 1)
    assert (replayed.played, replayed.peer, replayed.log) == (len(talk.records), talk.head["address"], [])
    assert bool(replayed.notes) is late


def test_what_is_as_fast_is_sooner_and_still_waits_for_what_it_answers(talk, node):
    real, fast = (replay(node, talk.write(), pace=pace) for pace in ("real", "as-fast"))
    assert real.ended.seconds == pytest.approx(6.1, abs=0.2)
    assert fast.ended.seconds < 1.0
    assert fast.impatient == 0


def test_who_has_said_less_than_then_is_waited_for_so_long_and_no_longer(talk, node):
    # Then, the node is claimed to have said a megabyte more before the peer's last word.
    records = [*talk.records[:-1], Record(talk.records[-1].seconds, "out", bytes(1_000_000)), talk.records[-1]]
    path = talk.write("more.p2pcap")
    path.write_bytes(encode_head(talk.head) + b"".join(map(encode_record, records)))
    replayed = replay(node, path, pace="real", patience=7.0)
    assert replayed.impatient == 1
    assert replayed.ended.seconds == pytest.approx(records[-1].seconds + 7.0, abs=0.2)
    assert replayed.answered_then > replayed.answered + 900_000


def test_one_seed_gives_one_outcome_and_another_one_other_bytes(talk, node):
    path = talk.write()
    first, again, other = replay(node, path, seed=3), replay(node, path, seed=3), replay(node, path, seed=4)
    assert asdict(first) == asdict(again)
    assert first.trace != other.trace
    assert facts(first) == facts(other)


@pytest.mark.parametrize("began", [0, 1.5, 2_208_988_800.0, 2.0**39])
def test_a_capture_of_any_time_can_be_played(talk, node, began):
    replayed = replay(node, talk.write("later.p2pcap", began=began))
    assert (replayed.began, replayed.ended.reason, replayed.log) == (began, "bad-headers", [])


@pytest.mark.parametrize(("wrong", "wanted"), [(0.0, True), (-90_000.0, False)])
def test_the_nodes_clock_says_what_it_said_then(tmp_path, node, wrong, wanted):
    # The block of a header is asked for where its time is good; by a clock of the day before it is from the future.
    header = mine(CHAINS["regtest"].genesis_hash, int(EPOCH), 0x207FFFFF)
    talk = Talk(tmp_path, NODE, [frame(MAGIC, "headers", b"\x01" + header + b"\x00")])
    assert "getdata" in talk.story.session.messages_out
    replayed = replay(node, talk.write(began=talk.head["began"] + wrong))
    assert replayed.messages_in["headers"] == 2
    assert ("getdata" in replayed.messages_out) is wanted


def test_a_session_that_goes_on_is_open_at_the_end(tmp_path, node):
    talk = Talk(tmp_path, NODE, [PING])
    replayed = replay(node, talk.write(), after=3.0)
    assert (replayed.session, replayed.ended, replayed.penalties) == ("open", None, [])
    assert replayed.messages_out["pong"] == talk.story.session.messages_out["pong"] == 2


def test_pongs_of_a_capture_answer_no_ping_of_today_so_a_long_one_needs_a_longer_timeout(tmp_path, node):
    talk = Talk(tmp_path, NODE, [PING], seconds=3000.0)
    assert talk.story.ended is None
    assert talk.story.session.ping is not None
    path = talk.write()
    assert replay(node, path).ended.reason == "ping-timeout"
    node.write_text(NODE.replace("chain: regtest", "chain: regtest, ping_timeout: 2h"))
    assert replay(node, path).session == "open"


def test_a_peer_that_never_finishes_its_handshake_is_told_of_too(tmp_path, node, talk):
    hello = [one for one in talk.records if one.way == "in"][:1]
    path = tmp_path / "hello.p2pcap"
    path.write_bytes(encode_head(talk.head) + b"".join(map(encode_record, hello)))
    replayed = replay(node, path, after=120.0)
    assert (replayed.ended.reason, replayed.ended.opened) == ("handshake-timeout", False)
    assert replayed.messages_in["version"] == 1


def test_bytes_of_no_sense_end_the_session_as_they_would(tmp_path, node, talk):
    path = tmp_path / "noise.p2pcap"
    path.write_bytes(encode_head(talk.head) + encode_record(Record(0.5, "in", b"GET / HTTP/1.1\r\n\r\n" + bytes(24))))
    replayed = replay(node, path)
    assert replayed.ended is not None and not replayed.ended.opened
    assert replayed.ended.seconds == pytest.approx(0.55, abs=0.1)


def test_what_a_peer_writes_has_no_control_characters_in_the_outcome(tmp_path, node, talk):
    path = talk.write("agent.p2pcap", agent="\x1b[2J<script>\n")
    assert replay(node, path).agent == "\\x1b[2J<script>\\n"


def test_the_admin_of_a_node_runs_too_and_its_warnings_are_told(tmp_path, node, talk):
    node.write_text(NODE + "applications: [{plugin: admin, listen: '127.0.0.1:8600'}]\n")
    assert replay(node, talk.write()).ended.reason == "bad-headers"


# --- where the peer was, and how it came ---


def test_a_peer_on_the_nodes_own_host_comes_from_there_and_is_spared(tmp_path, node, talk):
    node.write_text(NODE.replace("0.0.0.0", "127.0.0.1"))
    replayed = replay(node, talk.write("own.p2pcap", address="127.0.0.1:40000"))
    assert (replayed.peer, replayed.ended.reason) == ("127.0.0.1:40000", "bad-headers")
    assert replayed.penalties == []


def test_a_late_capture_of_a_peer_on_the_same_host_is_played_from_beside_it(tmp_path, node):
    talk = Talk(tmp_path, NODE, [BAD_HEADERS], late=True)
    replayed = replay(node, talk.write(address="127.0.0.1:40000"))
    assert replayed.peer == "198.51.100.1:40000"
    assert replayed.ended.reason == "bad-headers"
    assert any("own host" in note for note in replayed.notes)


def test_an_ipv6_peer_comes_over_ipv6(node, talk):
    node.write_text(NODE.replace('"0.0.0.0:18444"', '"[::]:18444"'))
    replayed = replay(node, talk.write("six.p2pcap", address="[2001:db8:7::1]:40000"))
    assert (replayed.peer, replayed.ended.reason) == ("[2001:db8:7::1]:40000", "bad-headers")


@pytest.mark.parametrize("slot", ["block-relay-only", "feeler"])
def test_every_slot_that_is_dialled_can_be(tmp_path, node, slot):
    talk = Talk(tmp_path, NODE, [PING], dialled=True)
    replayed = replay(node, talk.write(slot=slot), after=2.0)
    if slot == "feeler":
        assert (replayed.session, replayed.ended.reason, replayed.ended.opened) == ("closed", "feeler-done", True)
    else:
        assert (replayed.session, replayed.messages_in["version"]) == ("open", 1)


def test_a_peer_that_the_topology_had_dialled_is_dialled_into_that_slot_and_not_spared(tmp_path, node):
    talk = Talk(tmp_path, NODE, [PING, BAD_HEADERS], dialled=True)
    replayed = replay(node, talk.write(slot="outbound"))
    assert replayed.slot == "outbound"
    assert [one.subject for one in replayed.penalties] == [THERE]


def test_a_node_that_names_the_peer_in_its_config_dials_by_itself(tmp_path, node):
    talk = Talk(tmp_path, NODE, [PING, BAD_HEADERS], dialled=True)
    peers = f"    discovery: [{{plugin: static, peers: ['{talk.head['address']}']}}]\n"
    node.write_text(NODE + peers)
    assert replay(node, talk.write()).messages_in == dict(sorted(talk.story.session.messages_in.items()))


def test_of_an_encrypted_transport_the_inside_is_played_and_that_is_said(tmp_path, plugins):
    (tmp_path / "key").write_text("ab" * 32)
    (tmp_path / "key").chmod(0o600)
    here = LINES % (plugins, "0.0.0.0:7000")
    node = tmp_path / "chat.yaml"
    node.write_text(here)
    talk = Talk(
        tmp_path, here, [b"said over psk\n"], other=LINES % (plugins, f"{THERE}:7000"), network="chat"
    )
    assert any(b"said over psk" in one.data for one in talk.records)
    replayed = replay(node, talk.write())
    assert "upgrades left out: psk" in replayed.notes[0]
    assert replayed.messages_in == dict(sorted(talk.story.session.messages_in.items()))
    assert replayed.session == ("closed" if talk.story.ended is not None else "open")


def test_of_tls_the_inside_is_played_where_it_listened(tmp_path, node):
    talk = Talk(tmp_path, NODE, [PING, BAD_HEADERS])
    tls = "transports: [{plugin: tls, listen: ['0.0.0.0:18445']}]"
    node.write_text(NODE.replace('transports: [{plugin: tcp, listen: ["0.0.0.0:18444"]}]', tls))
    replayed = replay(node, talk.write(transport="tls"))
    assert "transport tls is plain tcp here" in replayed.notes[0]
    assert replayed.ended.reason == "bad-headers"


def test_a_node_that_the_peer_could_not_have_dialled_is_an_error(node, talk):
    # Where it listens on nothing that the peer could dial.
    node.write_text(NODE.replace("0.0.0.0", "127.0.0.1"))
    with pytest.raises(P2PFrameError, match=r"listens nowhere that 198\.51\.100\.7:\d+ could have dialled"):
        replay(node, talk.write())


# --- captures as the admin writes them ---


def parts(talk, *cuts):
    """The capture in files, as one that was too long for a single one."""
    paths, edges = [], [0, *cuts, len(talk.records)]
    for number, (begin, end) in enumerate(pairwise(edges), 1):
        before = sum(one.way == "in" for one in talk.records[:begin])
        path = talk.folder / f"part-{number}.p2pcap"
        head = encode_head({**talk.head, "heard": before, "part": number})
        path.write_bytes(head + b"".join(map(encode_record, talk.records[begin:end])))
        paths.append(path)
    return paths


def test_the_parts_of_a_capture_are_one(talk, node):
    whole, parted = replay(node, talk.write()), replay(node, parts(talk, 2, 5))
    assert asdict(whole) == asdict(parted)


def test_a_later_part_alone_begins_at_its_first_record(tmp_path, node):
    talk = Talk(tmp_path, NODE, [PING, BAD_HEADERS])
    first, second = parts(talk, len(talk.records) - 1)
    replayed = replay(node, second)
    assert replayed.ended.seconds == pytest.approx(0.05)
    assert facts(replayed)[0][:2] == heard(talk.story)[0][:2]
    with pytest.raises(CaptureError, match="this is part 1, and part 3 comes next"):
        replay(node, [second, first])
    with pytest.raises(CaptureError, match="this is part 1, and part 2 comes next"):
        replay(node, [first, first])
    with pytest.raises(CaptureError, match=r"another capture than .*: its address is not the same"):
        replay(node, [first, talk.write(address="192.0.2.99:5")])
    with pytest.raises(CaptureError, match="there is no capture"):
        replay(node, [])


def test_what_the_admin_of_a_node_captures_is_what_is_played(tmp_path, node):
    config = NODE + "applications: [{plugin: admin, listen: '127.0.0.1:8600'}]\n"
    node.write_text(config)
    simulation = NodeSimulation(tmp_path / "live", seed=2)
    simulation.folder.mkdir()
    here = simulation.start(config, "192.0.2.1", name="here")
    there = simulation.start(OTHER, THERE, name="there")
    there.node.control.connect("bitcoin", PeerAddress("192.0.2.1", 18444))
    simulation.run(10.0)
    (admin,) = [place.instance for place in here.node.builder.built if isinstance(place.instance, Admin)]
    (snapshot,) = here.node.view.sessions()
    name = admin._captures.begin(snapshot, "bitcoin", 60.0)
    (speaker,) = there.node.networks["bitcoin"].sessions.values()
    speaker.write(PING)
    simulation.clock.at(simulation.clock.now + 2.0, None, speaker.write, BAD_HEADERS)
    simulation.run(10.0)
    story = here.node.view.story("bitcoin", snapshot.id)
    path = tmp_path / name
    shutil.copy(admin._captures.path(name), path)
    simulation.close()
    assert story.reason == "bad-headers"
    replayed = replay(node, path)
    assert (replayed.ended.reason, replayed.ended.evidence) == (story.reason, story.evidence)
    assert facts(replayed) == heard(story)
    assert [one.subject for one in replayed.penalties] == [THERE]
    assert replayed.agent == snapshot.agent


# --- what can't be played ---


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ({"network": "bitcoins"}, r"of network 'bitcoins'.*did you mean 'bitcoin'"),
        ({"network": 7}, "does not say 'network'"),
        ({"protocol": "mainline"}, "speaks 'bitcoin', and the capture is of 'mainline'"),
        ({"transport": "tls"}, "has no transport 'tls'.*there is tcp"),
        ({"address": "seed.example:8333"}, "none that a simulated host can have"),
        ({"address": "0.0.0.0:8333"}, "none that a simulated host can have"),
        ({"address": "192.0.2.1:0"}, "none that a simulated host can have"),
        ({"address": "nowhere"}, "the peer's address"),
        ({"slot": "best"}, "there is no slot 'best'"),
        ({"slot": None}, "does not say 'slot'"),
        ({"began": float("nan")}, "does not say 'began'"),
        ({"began": 10**300}, "does not say 'began'"),
        ({"began": -1}, "does not say 'began'"),
        ({"began": True}, "does not say 'began'"),
        ({"heard": "many"}, "does not say 'heard'"),
    ],
)
def test_a_head_that_does_not_fit_is_a_clear_error(node, talk, head, said):
    path = talk.write("wrong.p2pcap", **head)
    with pytest.raises(P2PFrameError, match=said):
        replay(node, path)


def test_a_file_that_ends_within_a_record_is_played_until_there(node, talk, tmp_path):
    path = tmp_path / "cut.p2pcap"
    path.write_bytes(talk.write().read_bytes()[:-5])
    replayed = replay(node, path, after=2.0)
    assert replayed.records == len(talk.records) - 1
    assert (replayed.session, replayed.penalties) == ("open", [])
    assert "ends within a record" in replayed.notes[0]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "this is no capture"),
        (b"\x0a\x0d\x0d\x0a", "this is no capture"),
        (FORMAT + b"{" * 20_000, "the head of the capture has no end"),
        (FORMAT + b"[]\n", "no JSON object"),
        (FORMAT + b"{}\n", "does not say 'network'"),
    ],
)
def test_what_is_no_capture_is_said_with_the_file(node, tmp_path, data, said):
    path = tmp_path / "no.p2pcap"
    path.write_bytes(data)
    with pytest.raises(CaptureError, match=said) as caught:
        replay(node, path)
    assert str(path) in str(caught.value)


def test_a_record_that_is_malformed_or_of_another_day_is_found_before_anything_runs(node, talk, tmp_path):
    path = tmp_path / "broken.p2pcap"
    whole = talk.write().read_bytes()
    path.write_bytes(whole + struct.pack(">QBI", 0, 9, 1) + b"x")
    with pytest.raises(CaptureError, match=f"the record at byte {len(whole)} is malformed"):
        replay(node, path)
    path.write_bytes(whole + encode_record(Record(1e9, "in", b"x")))
    with pytest.raises(CaptureError, match="is the longest"):
        replay(node, path)


def test_a_length_in_a_file_allocates_nothing(node, talk, tmp_path):
    path = tmp_path / "long.p2pcap"
    path.write_bytes(talk.write().read_bytes() + struct.pack(">QBI", 0, 0, 60_000_000) + b"short")
    assert "its last 18 bytes are left out" in replay(node, path).notes[0]


def test_a_pipe_is_no_capture_and_nobody_waits_for_it(node, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CaptureError, match="no plain file"):
        replay(node, tmp_path / "pipe")


def test_a_peer_that_says_more_than_the_node_reads_waits_with_the_rest_of_its_file(tmp_path, node, talk):
    # Within its handshake it may say 5,000 messages at once, and 500 a second from there.
    open_records = talk.records[:-1]
    many = [Record(10.0, "in", PING * 1000)] * 12
    path = tmp_path / "many.p2pcap"
    path.write_bytes(encode_head(talk.head) + b"".join(map(encode_record, [*open_records, *many])))
    replayed = replay(node, path, patience=0.0, after=60.0)
    assert replayed.played == len(open_records) + 12
    assert replayed.messages_in["ping"] > 12_000


def test_a_protocol_of_datagrams_has_no_sessions(node, talk):
    node.write_text(
        "version: 1\nnetworks:\n  bitcoin:\n    protocol: {plugin: mainline}\n"
        "    transports: [{plugin: udp, listen: '0.0.0.0:6881'}]\n"
    )
    with pytest.raises(P2PFrameError, match="it has no sessions to play"):
        replay(node, talk.write("dht.p2pcap", protocol="mainline"))


def test_a_node_file_with_a_mistake_is_told_of_by_its_place(node, talk):
    node.write_text(NODE.replace("bitcoin, chain", "bitcon, chain"))
    with pytest.raises(ConfigError, match=r"node\.yaml:4"):
        replay(node, talk.write())


KINDS = ("version", "verack", "ping", "headers", "inv", "tx", "nonsense")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_fuzz_any_mutation_of_a_capture_has_an_outcome_or_is_a_clear_error(tmp_path, node, talk, data):
    whole = bytearray(talk.write().read_bytes())
    head = len(encode_head(talk.head))
    for _ in range(data.draw(st.integers(1, 4))):
        how = data.draw(st.sampled_from(["set", "cut", "insert", "message"]))
        at = data.draw(st.integers(0 if data.draw(st.booleans()) else head, len(whole)))
        if how == "set" and at < len(whole):
            whole[at] = data.draw(st.integers(0, 255))
        elif how == "cut":
            del whole[at : at + data.draw(st.integers(1, 50))]
        elif how == "insert":
            whole[at:at] = data.draw(st.binary(max_size=30))
        else:
            payload = data.draw(st.binary(max_size=100))
            message = frame(MAGIC, data.draw(st.sampled_from(KINDS)), payload)
            whole += encode_record(Record(data.draw(st.floats(0, 1000)), "in", message))
    path = tmp_path / "mutated.p2pcap"
    path.write_bytes(bytes(whole))
    try:
        replayed = replay(node, path, longest=3600.0, after=5.0)
    except P2PFrameError as error:
        assert str(error)
    else:
        assert replayed.played <= replayed.records
        assert not [line for line in replayed.log if "Traceback" in line or "failed in" in line]


# --- the command ---


@pytest.fixture
def run():
    return lambda *arguments: CliRunner().invoke(
        main, ["sim", "replay-capture", *map(str, arguments)], prog_name="p2pframe", catch_exceptions=False
    )


def test_the_command_says_how_it_ended_and_why(run, node, talk):
    result = run(node, talk.write(), "--speed", "as-fast")
    assert result.exit_code == 0, result.output
    assert "fact bad-headers: discourage by floor, acted-on: header 0: bad-proof-of-work" in result.output
    assert "messages in: feefilter 1, getaddr 1" in result.output
    assert f"in force at the end: discourage of {THERE} in bitcoin by floor: bad-headers" in result.output
    assert result.output.count("bad-proof-of-work") == 1


def test_the_command_gives_json_and_is_the_same_for_one_seed(run, node, talk):
    first, again = (run(node, talk.write(), "--json", "--seed", "9") for _ in range(2))
    assert first.output == again.output
    told = json.loads(first.output)
    assert (told["ended"]["reason"], told["seed"]) == ("bad-headers", 9)
    assert told["facts"][0]["rule"] == "floor"


def test_what_the_page_shows_is_what_the_shipped_capture_comes_to(run, node):
    root = Path(__file__).parents[2]
    page = (root / "docs" / "simulate" / "how-to" / "replay-a-capture.md").read_text()
    shown = page.split("```text\n")[1].split("```")[0].splitlines()
    said = run(node, root / "examples" / "captures" / "bad-header.p2pcap").output.splitlines()
    assert len(shown) > 4
    assert [line for line in shown if line not in said] == []


@pytest.mark.parametrize("missing", ["node", "capture"])
def test_the_command_names_a_file_that_is_not_there(run, node, talk, tmp_path, missing):
    arguments = {"node": node, "capture": talk.write(), missing: tmp_path / "absent"}
    result = run(arguments["node"], arguments["capture"])
    assert result.exit_code == 1
    assert "absent" in result.output


def test_the_command_does_not_take_what_is_no_time(run, node, talk):
    result = run(node, talk.write(), "--patience", "soon")
    assert result.exit_code == 2
    assert "soon" in result.output
