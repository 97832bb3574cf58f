"""The examples at work in whole nodes, put together by YAML alone.

Each does what it says, and explains what it refuses.
"""

from __future__ import annotations

import json
import os
import secrets

import pytest

from p2pframe.errors import PluginError
from tests.core.conftest import Cluster

ALICE, BOB, CAROL = "192.0.2.1", "198.51.100.1", "203.0.113.1"


@pytest.fixture
def cluster(tmp_path):
    made = Cluster(tmp_path)
    yield made
    made.stop()


def chat(node):
    return node.networks["chat"]


def lines_of(node):
    return chat(node).protocol.lines()


def opened(node):
    return [session for session in node.view.sessions() if session.state == "open"]


def events(node, kind):
    return [event.fields for event in node.view.events() if event.kind == kind]


def pair(cluster, alice="", bob="", limit=60.0):
    """Two nodes, the second of which dials the first, once they are connected."""
    first = cluster.start(ALICE, extra=alice)
    second = cluster.start(BOB, (ALICE,), extra=bob or alice)
    cluster.net.run_until(lambda: opened(first) and opened(second), limit)
    return first, second


def say(cluster, node, text):
    return cluster.wait(chat(node).protocol.say(text)).outcome.value


# --- upgrades ---


def key_file(folder, name):
    path = folder / name
    path.write_text(secrets.token_hex(32))
    os.chmod(path, 0o600)
    return path


def psk(*keys):
    return f"    upgrades: [{', '.join(f'{{plugin: psk, key_file: {key}}}' for key in keys)}]"


def test_a_tap_sees_what_is_said_and_nothing_of_the_encryption(cluster, tmp_path):
    alice, bob = pair(cluster, psk(key_file(tmp_path, "team.key")))
    heard = {"in": b"", "out": b""}

    def tap(way, data):
        heard[way] += data

    [session] = opened(alice)
    end = alice.control.tap("chat", session.id, tap)
    say(cluster, bob, "hello alice")
    say(cluster, alice, "hello bob")
    cluster.net.run_until(lambda: b"hello bob" in heard["out"], 60.0)
    assert b"hello alice" in heard["in"]
    assert all(line.isascii() for line in heard.values())
    end()
    assert alice.control.tap("chat", 99, tap) is None


def test_who_holds_the_key_talks_and_nothing_of_it_is_readable_on_the_wire(cluster, tmp_path):
    key = key_file(tmp_path, "team.key")
    alice, bob = pair(cluster, psk(key))
    wire: list[bytes] = []
    chat(alice).sessions[1].transport.other.protocol.dataReceived = _recording(wire, chat(bob).sessions[1].dataReceived)
    assert {s.encryption for s in opened(alice) + opened(bob)} == {"X25519 ChaCha20-Poly1305, pre-shared key"}
    assert say(cluster, alice, "a secret line") == "accept"
    cluster.net.run_until(lambda: lines_of(bob) == ["a secret line"])
    assert wire and b"secret" not in b"".join(wire)


def _recording(wire, receive):
    def received(data):
        wire.append(data)
        receive(data)

    return received


@pytest.mark.parametrize("case", ["another key", "no key", "no key at the other end"])
def test_who_does_not_is_refused_with_the_reason_and_no_line_passes(cluster, tmp_path, case):
    ours, theirs = psk(key_file(tmp_path, "ours")), psk(key_file(tmp_path, "theirs"))
    with_key = {"another key": (ours, theirs), "no key": (ours, ""), "no key at the other end": ("", theirs)}[case]
    limits = "    limits: {handshake_timeout: 5s, manual_retry_first: 1h}"
    alice = cluster.start(ALICE, extra=f"{with_key[0]}\n{limits}")
    bob = cluster.start(BOB, (ALICE,), extra=f"{with_key[1]}\n{limits}")
    cluster.net.run_until(lambda: events(alice, "session.closed") and events(bob, "session.closed"))
    cluster.net.run(10.0)
    assert not opened(alice) and not opened(bob)
    ends = [*events(alice, "session.closed"), *events(bob, "session.closed")]
    (refusal, *_) = [end for end in ends if end["reason"] == "refused-by-upgrade"]
    assert {"another key": "psk-tag", "no key": "psk-magic", "no key at the other end": "psk-magic"}[case] in refusal[
        "evidence"
    ]
    if case == "another key":
        assert "does the peer have the same key?" in refusal["evidence"]


def test_upgrades_are_a_chain(cluster, tmp_path):
    both = psk(key_file(tmp_path, "outer"), key_file(tmp_path, "inner"))
    alice, bob = pair(cluster, both)
    assert opened(alice)[0].encryption.count("ChaCha20") == 2
    long = "x" * 900
    for number in range(50):
        say(cluster, bob, f"{number} {long}")
    cluster.net.run_until(lambda: len(lines_of(alice)) == 50)


# --- validators and item stores ---


def test_a_validator_that_the_config_names_runs_after_the_protocols_own(cluster):
    alice, bob = pair(
        cluster, "    validators: [{plugin: quota, items: 3, interval: 1h}]", bob="    relay: {plugin: flood}"
    )
    for number in range(5):
        assert say(cluster, bob, f"line {number}") == "accept"
    chat(bob).sessions[1].write(b"LINE \x07 not printable\n")
    cluster.net.run_until(lambda: not opened(alice))
    assert lines_of(alice) == ["line 0", "line 1", "line 2"]
    assert alice.metrics.snapshot()["p2pframe_quota_exceeded_total"] == {("chat", "line"): 2}
    outcomes = alice.metrics.snapshot()["p2pframe_items_total"]
    assert (outcomes["chat", "line", "ignore"], outcomes["chat", "line", "reject"]) == (2, 1)


def test_a_topic_that_a_validator_names_in_vain_stops_the_start(cluster):
    with pytest.raises(PluginError, match=r"no topic lines: the protocol has line"):
        cluster.start(ALICE, extra="    validators: [{plugin: quota, topics: [lines]}]")


@pytest.mark.parametrize("relay", ["flood", "inventory", "lazy-flood"])
def test_a_store_that_the_config_names_keeps_serves_and_forgets(cluster, relay):
    relayed = f"    relay: {{plugin: {relay}}}"
    stored = f"{relayed}\n    item_stores: {{line: {{plugin: recent, size: 20, age: 1h}}}}"
    alice, bob = pair(cluster, stored, bob=relayed)
    store = chat(alice).parts.stores["line"]
    assert type(store).__name__ == "RecentStore"
    for text in ("0123456789", "abcdefghij", "ABCDEFGHIJ"):
        say(cluster, alice, text)
        cluster.net.run_until(lambda text=text: text in lines_of(bob))
    assert store.size == 20
    assert chat(alice).protocol.store.held == {}
    # The oldest is no longer there to be had.
    assert say(cluster, alice, "a line that is longer than the whole store") == "ignore"
    assert alice.metrics.snapshot()["p2pframe_recent_gone_total"]["chat", "no room"] == 1


# --- scorers, authenticators ---


@pytest.mark.parametrize(
    "scoring",
    [
        "[]",
        "[{plugin: latency}]",
        "[{plugin: weighted}]",
        "[{plugin: behaviour}]",
        "[{plugin: latency}, {plugin: weighted}, {plugin: behaviour}]",
        "[{plugin: weighted, dry_run: true}, {plugin: behaviour, dry_run: true}, {plugin: latency, dry_run: true}]",
        "[{plugin: weighted}, {plugin: behaviour, dry_run: true}]",
    ],
)
def test_lines_spread_and_bad_ones_end_the_session_whoever_scores(cluster, scoring):
    alice, bob = pair(cluster, f"    scoring: {scoring}\n    limits: {{score_interval: 1s, manual_retry_first: 1h}}")
    say(cluster, bob, "good")
    cluster.net.run_until(lambda: lines_of(alice) == ["good"])
    cluster.net.run(3.0)
    (session,) = opened(alice)
    assert len(session.scores) == scoring.count("plugin")
    counting = scoring.count("plugin") - scoring.count("dry_run: true")
    assert (session.score is None) == (counting == 0)
    assert all(0 <= score.value <= 1 and score.parts for score in session.scores)
    chat(bob).sessions[1].write(b"LINE \x07\n")
    cluster.net.run_until(lambda: events(alice, "session.closed"))
    assert events(alice, "session.closed")[-1]["reason"] == "bad-line"
    assert events(alice, "peer.judged")[-1]["fact"] == "bad-line"


def test_a_dry_run_shows_what_it_would_do_and_does_nothing(cluster):
    from p2pframe.model import Fact

    def judged(scoring):
        made = Cluster(cluster.folder / f"node{len(scoring)}")
        made.folder.mkdir()
        try:
            alice, _ = pair(made, f"    scoring: [{{plugin: behaviour{scoring}}}]")
            session = next(iter(chat(alice).sessions.values()))
            for _ in range(20):
                session.fact(Fact("bad-block", evidence="seen", proven=True, weight=10.0))
            verdicts = alice.metrics.snapshot()["p2pframe_verdicts_total"]
            return bool(opened(alice)), {key[3] for key, count in verdicts.items() if count}
        finally:
            made.stop()

    assert judged("") == (False, {"acted-on"})
    assert judged(", dry_run: true") == (True, {"dry-run"})


@pytest.mark.parametrize(
    ("chain", "reason", "rule"),
    [
        ("[{plugin: agent, refuse: ['p2pframe-lines*']}]", "unwanted-agent", "authentication.agent"),
        ("[{plugin: version, minimum: 2}, {plugin: agent, refuse: ['*']}]", "old-version", "authentication.version"),
        (
            "[{plugin: agent}, {plugin: allow-list, addresses: ['192.0.2.77']}]",
            "not-listed",
            "authentication.allow-list",
        ),
    ],
)
def test_the_first_authenticator_that_does_not_allow_gives_the_reason(cluster, chain, reason, rule):
    alice = cluster.start(ALICE, extra=f"    authentication: {chain}")
    bob = cluster.start(BOB, (ALICE,))
    cluster.net.run_until(lambda: events(alice, "peer.refused"))
    (refused, *_) = events(alice, "peer.refused")
    assert (refused["rule"], refused["reason"]) == (rule, reason)
    cluster.net.run(3.0)
    assert not opened(alice) and not opened(bob)
    assert {event["reason"] for event in events(alice, "session.closed")} == {reason}


def test_where_all_allow_the_peer_is_in(cluster):
    listed = "{plugin: allow-list, networks: ['198.51.100.0/24']}"
    chain = f"[{{plugin: version, minimum: 1}}, {{plugin: agent, only: ['p2pframe-*']}}, {listed}]"
    pair(cluster, f"    authentication: {chain}", bob="    topology: {plugin: near}")


# --- storage, application, discovery ---


def test_a_node_on_the_journal_keeps_its_bans_and_its_addresses(cluster):
    path = cluster.config(ALICE)
    path.write_text(path.read_text().replace("plugin: memory", "plugin: journal"))
    alice = cluster.start_file(ALICE, path)
    cluster.wait(alice.control.ban("203.0.113.9", 3600.0, "by hand"))
    cluster.stop()
    again = cluster.start_file(ALICE, path)
    assert [(p.subject, p.reason) for p in again.view.penalties()] == [("203.0.113.9", "by hand")]


def test_the_peer_log_tells_who_came_and_why_they_went(cluster, tmp_path):
    extra = "applications: [{plugin: peer-log, every: 1s}]\n"
    alice, _ = pair(cluster, extra, bob="    relay: {plugin: flood}")
    alice.control.disconnect("chat", opened(alice)[0].id, "enough")
    cluster.net.run(2.0)
    (path,) = (tmp_path / f"data-{ALICE}").rglob("peers.jsonl")
    told = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["kind"], line["network"]) for line in told[:2]] == [
        ("session.opened", "chat"),
        ("session.closed", "chat"),
    ]
    assert told[1]["peer"].startswith(BOB) and told[1]["evidence"] == "enough"


def test_a_file_of_peers_is_dialled(cluster, tmp_path):
    (tmp_path / "peers.txt").write_text(f"{ALICE}\n")
    alice = cluster.start(ALICE)
    cluster.start(BOB, extra="    discovery: [{plugin: peer-file, path: ./peers.txt}]")
    cluster.net.run_until(lambda: opened(alice))
