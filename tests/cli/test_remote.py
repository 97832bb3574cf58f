"""The commands that ask a running node: against real ones, and against what answers wrongly."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys

import pytest

from p2pframe.admin.values import Node
from p2pframe.admin.values_story import Story, StoryFact
from p2pframe.cli.remote import show
from p2pframe.cli.remote.netinfo import HELP, kind, netinfo
from tests.cli.remote import TOKEN, a_node, a_peer, filled, good, refused, run, said, token_file
from tests.interop.processes import free_port, wait_until

ASKING = ("status", "peers", "peer", "bans", "ban", "unban", "connect", "disconnect", "events", "netinfo", "log")


def test_a_node_at_a_glance(nodes):
    table = good("status", *nodes.by_config)
    assert "healthy" in table and nodes.ours.address in table and "outbound" in table
    answer = json.loads(good("status", "--json", *nodes.by_token))
    assert Node.model_validate(answer).networks[0].name == "bitcoin"


def test_peers_are_dialled_shown_and_disconnected(nodes, session):
    rows = good("peers", *nodes.by_token)
    assert nodes.other.address in rows and "manual" in rows
    (one,) = json.loads(good("peers", "--json", *nodes.by_config))["peers"]
    assert (one["id"], one["network"], one["slot"]) == (session, "bitcoin", "manual")
    by_id, by_address = (good("peer", which, *nodes.by_config) for which in (session, nodes.other.address))
    assert nodes.other.address in by_id and nodes.other.address in by_address
    assert "handshaking, for" in by_id and "score:" in by_id
    assert json.loads(good("peer", session, "--json", *nodes.by_config))["peer"]["address"] == nodes.other.address
    matrix = good("netinfo", *nodes.by_config)
    assert re.search(r"^out +1 +0 +0 +0 +1 +0 +1$", matrix, re.MULTILINE), matrix
    listed = good("netinfo", 4, *nodes.by_config)
    assert re.search(rf"^out  manual +ipv4 .* {session}  {nodes.other.address} +\d+ /", listed, re.MULTILINE), listed
    assert nodes.other.address not in good("netinfo", 1, *nodes.by_config)
    assert good("disconnect", session, "--reason", "a test", *nodes.by_config) == f"{session} is disconnected\n"
    # Who has gone is told of by id, for as long as the node knows why.
    assert "connected no longer" in (gone := good("peer", session, *nodes.by_config)) and "asked-to (a test)" in gone
    assert refused("peer", 999, *nodes.by_config) == "there is no peer 999"
    assert refused("peer", "192.0.2.200:1", *nodes.by_config) == "there is no peer 192.0.2.200:1"


def test_who_is_banned_is_listed_until_let_in_again(nodes):
    subject = "192.0.2.0/24"
    assert good("ban", subject, "--for", "2h", "--reason", "it lies", *nodes.by_config)
    assert subject in (table := good("bans", *nodes.by_config)) and "it lies" in table
    (one,) = json.loads(good("bans", "--json", *nodes.by_token))["penalties"]
    assert one["until"] - one["since"] == pytest.approx(7200, abs=1)
    assert good("unban", subject, "--json", *nodes.by_config) == "{}\n"
    assert good("bans", *nodes.by_config) == "nobody is kept out\n"
    assert "not banned" in refused("unban", subject, *nodes.by_config)


def test_events_are_listed_and_followed(nodes):
    for subject in ("192.0.2.1", "192.0.2.2"):
        good("ban", subject, *nodes.by_config)
        good("unban", subject, *nodes.by_config)
    table = good("events", "--kind", "peer", *nodes.by_config)
    assert "subject=192.0.2.1" in table and "subject=192.0.2.2" in table
    (latest,) = json.loads(good("events", "-n", 1, "--kind", "peer.banned", "--json", *nodes.by_token))["events"]
    assert latest["fields"]["subject"] == "192.0.2.2"
    lines = good("events", "-f", "-n", 2, "--after", 0, "--kind", "peer.banned", *nodes.by_token).splitlines()
    assert len(lines) == 2 and all(" peer.banned" in line for line in lines)
    told = json.loads(good("events", "-f", "-n", 1, "--after", latest["number"] - 1, "--json", *nodes.by_config))
    assert told == latest
    assert "--follow" in run("events", "--after", 1, *nodes.by_config)[2]


def test_the_log_is_printed_by_level_namespace_and_text_and_followed(nodes):
    lines = good("log", "-n", 1000, *nodes.by_config).splitlines()
    assert any(line.endswith(" node: node started: bitcoin") for line in lines), lines
    times = [line[:20] for line in lines]
    assert times == sorted(times), "oldest first"
    assert good("log", "--level", "critical", *nodes.by_token) == ""
    only = good("log", "--namespace", "node", "--text", "NODE STARTED", *nodes.by_token).splitlines()
    assert len(only) == 1 and only[0] in lines
    (latest,) = json.loads(good("log", "-n", 1, "--json", *nodes.by_token))["lines"]
    assert latest["level"] == "info"
    following = subprocess.Popen(
        [sys.executable, "-m", "p2pframe.cli", "log", "-f", "-n", "1", "--json", *map(str, nodes.by_token)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        before = json.loads(following.stdout.readline())
        good("ban", "192.0.2.8", *nodes.by_config)
        good("unban", "192.0.2.8", *nodes.by_config)
        told = json.loads(following.stdout.readline())
        assert told["number"] == before["number"] + 1, "nothing is lost between the two"
        following.send_signal(signal.SIGINT)
        assert following.wait(20) == 130
    finally:
        following.kill()
        following.communicate()


def test_each_command_logs_out_also_when_it_is_interrupted(nodes):
    before = nodes.audited().count("logged out")
    refused("peer", 999, *nodes.by_config)
    assert nodes.audited().count("logged out") == before + 1
    following = subprocess.Popen(
        [sys.executable, "-m", "p2pframe.cli", "events", "-f", "--after", "0", *map(str, nodes.by_config)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        good("ban", "192.0.2.9", *nodes.by_config)
        good("unban", "192.0.2.9", *nodes.by_config)
        assert following.stdout.readline()
        following.send_signal(signal.SIGINT)
        assert following.wait(20) == 130
        assert following.stderr.read() == ""
    finally:
        following.kill()
        following.communicate()
    kinds = nodes.audited()
    assert wait_until("all have logged out", lambda: kinds.count("logged out") == kinds.count("logged in"))


def test_refusals_are_one_sentence(nodes, tmp_path):
    assert refused("ban", "192.0.2.7", *nodes.by_token).endswith("refused: this takes the role operator")
    assert "not reached" in refused("connect", f"127.0.0.1:{free_port()}", *nodes.by_config).replace("-", " ")
    assert "no network 'other'" in refused("connect", "127.0.0.1:1", "--network", "other", *nodes.by_config)
    assert "there is no network" in refused("netinfo", "--network", "other", *nodes.by_config)
    wrong = token_file(tmp_path, "wrong", "another-token-that-nobody-gave")
    assert "log in" in refused("status", "--url", nodes.url, "--token-file", wrong)
    assert "address" in refused("ban", "not an address", *nodes.by_config)


def test_a_node_that_is_not_there_is_named(nodes, tmp_path):
    away = f"http://127.0.0.1:{free_port()}"
    words = ("--url", away, "--token-file", token_file(tmp_path, "token"))
    assert refused("status", *words).startswith(f"no node answers at {away}: ")
    config = tmp_path / "node.yaml"
    config.write_text(nodes.other.path.read_text())
    assert "no application `admin`" in refused("status", "-c", config)
    text = nodes.ours.path.read_text().replace(str(nodes.ours.data_dir), str(tmp_path / "data"))
    config.write_text(text)
    assert "has the node been started" in refused("status", "-c", config)
    assert "there is no such file" in refused("status", "--url", away, "--token-file", tmp_path / "none")
    (tmp_path / "token").chmod(0o644)
    assert "others may read" in refused("status", *words)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://127.0.0.1", "is no address of an admin"),
        ("127.0.0.1:8600", "is no address of an admin"),
        ("http://127.0.0.1:99999", "is no address of an admin"),
        ("http://127.0.0.1/api", "is no address of an admin"),
        ("http://me:secret@127.0.0.1", "--token-file"),
        ("https://me:secret@a..b", "--token-file"),
        ("https://a..b:8600", "is no address of an admin"),
        ("https://-x-.example", "is no address of an admin"),
        (f"https://{'a' * 70}.example", "is no address of an admin"),
        ("https://\N{COLLISION SYMBOL}:8600", "is no address of an admin"),
        ("https://[127.0.0.1]:8600", "is no address of an admin"),
        ("https://[fe80::1%eth0]:8600", "is no address of an admin"),
        ("https://[::1]x:8600", "is no address of an admin"),
        ("https://[::1", "is no address of an admin"),
        ("http://[2001:db8::1]:8600", "in the open"),
        ("http://node.example:8600", "in the open"),
    ],
)
def test_an_address_that_can_not_be(url, why, tmp_path):
    from p2pframe.cli.remote.place import NotFound, of_url

    with pytest.raises(NotFound) as caught:
        of_url(url, str(token_file(tmp_path, "token")))
    assert why in str(caught.value) and "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://node.example:", "https://node.example"),
        ("https://m\u00fcnchen.example", "https://m\u00fcnchen.example"),
        ("https://[::1]:8600", "https://[::1]:8600"),
        ("https://[2001:0DB8:0::1]", "https://[2001:db8::1]"),
        ("http://[0::1]:8600/", "http://[::1]:8600"),
    ],
)
def test_an_address_that_can_be(url, found, tmp_path):
    from p2pframe.cli.remote.place import of_url

    assert of_url(url, str(token_file(tmp_path, "token"))).url == found


@pytest.mark.parametrize(
    "words",
    [
        ["status"],
        ["status", "--url", "http://127.0.0.1:1"],
        ["status", "--token-file", "x", "-c", "x"],
        ["netinfo", "5"],
        ["ban", "192.0.2.1", "--for", "long"],
        ["log", "-c", "x", "--certificate", "x"],
    ],
)
def test_what_is_not_understood_has_status_2(words):
    status, out, err = run(*words)
    assert (status, out) == (2, "") and "Error: " in err


def test_a_ban_is_as_long_as_the_node_takes_it(wrong):
    words = wrong(said({}))
    for length, why in (("20000d", "at most 11574 days"), ("11575d", "at most 11574 days"), ("0", "more than 0")):
        status, out, err = run("ban", "192.0.2.1", "--for", length, *words)
        assert (status, out) == (2, "") and "\nError: Invalid value for --for: " in err, err
        assert err.endswith(f"{why}\n"), err
    assert wrong.seen == []
    assert good("ban", "192.0.2.1", "--for", "11574d", *words)


PROBLEM = {"type": "about:blank", "title": "Conflict", "status": 409, "detail": "no\x1b[2Jway"}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "no node answers"),
        (b"SSH-2.0-other\r\n", "no node answers"),
        (said(b"{}", length=100), "no node answers"),
        (said(b"<html>", kind="text/html"), "answered what no p2pframe admin does"),
        (said(b"[" * 100_000), "answered what no p2pframe admin does"),
        (said(b"gone", "502 Bad Gateway", "text/plain"), "answered 502: is there a p2pframe admin?"),
        (said({"title": 7}, "500 Oops"), "answered 500"),
        (said(PROBLEM, "409 Conflict"), "refused: no\\x1b[2Jway"),
        (said({}, "302 Found\r\nLocation: http://127.0.0.1:1/"), "answered 302"),
        (said([1, 2]), "answered what no p2pframe admin does"),
        (said({"penalties": [{"subject": 1}]}), "none that this version of p2pframe knows"),
    ],
)
def test_wrong_answers_are_one_sentence(wrong, answer, why):
    assert why in refused("bans", *wrong(answer))
    # A token goes where it was told to go, and no further.
    assert wrong.seen == [("/api/v1/bans?limit=1000", f"Bearer {TOKEN}")]


def test_who_asks_too_often_is_told_so_in_one_line_with_the_key(wrong):
    problem = {"type": "about:blank", "title": "Too many requests", "status": 429,
               "detail": "more than 20 requests a second (requests_per_second): try again in 1 s"}  # fmt: skip
    words = wrong(said(problem, "429 Too Many Requests", "application/problem+json"))
    for command in (["status"], ["peers"], ["top", "--once"], ["events", "-f"]):
        assert refused(*command, *words).endswith(f" refused: {problem['detail']}"), command


@pytest.mark.parametrize("command", ["peers", "events", "peer 1", "disconnect 1", "connect 127.0.0.1:1", "netinfo"])
@pytest.mark.parametrize("body", [[], {"peers": [7], "events": [7], "next": None}])
def test_lists_of_the_wrong_shape_too(wrong, command, body):
    assert refused(*command.split(), *wrong(said(body)))


def test_the_numbers_of_a_peer_have_their_units(capsys):
    show.peer(a_peer(
        ping=0.0058553218841552734, best_ping=None, rate_in=50.73811319793774, rate_out=0.0, bytes_in=12_345,
        bytes_out=0, score=0.123456, message_rate_in=1.23456789,
    ))  # fmt: skip
    said = dict(re.split(r"  +", line.strip(), maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert (said["ping"], said["rate in"], said["rate out"]) == ("6 ms", "50.7 B/s", "0 B/s")
    assert (said["bytes in"], said["bytes out"], said["score"]) == ("12.3 kB", "0 B", "0.12")
    assert said["message rate in"] == "1.235" and "best ping" not in said


def test_what_a_peer_says_of_itself_moves_no_cursor(wrong):
    peer = a_peer(agent="/\x1b[2J[red]evil[/red]\n\ud800/").model_dump()
    for words in (["peers"], ["peer", "7"], ["netinfo", "4"]):
        told = filled(Story, peer=peer, says="Good.", facts=[filled(StoryFact, kind="x", evidence=peer["agent"])])
        pages = {"/api/v1/node": a_node().model_dump(), "/api/v1/peers/bitcoin/7/story": told.model_dump()}

        def answer(path, pages=pages):
            found = pages.get(path.partition("?")[0], {"peers": [peer], "next": None})
            return said(found)

        out = good(*words, *wrong(answer))
        assert "\x1b" not in out and r"\x1b[2J[red]evil[/red]\n\ud800/" in out


def test_a_newer_node_may_say_more(wrong):
    assert good("bans", *wrong(said({"penalties": [], "news": 1}))) == "nobody is kept out\n"


def test_a_stream_that_ends_is_said(wrong):
    event = {"number": 3, "time": 0.0, "kind": "session.closed", "network": "n", "session": 1, "address": None,
             "fields": {"reason": "idle"}}  # fmt: skip
    data = f"retry: 2000\n\nid: 3\ndata: {json.dumps(event)}\n\n".encode()
    status, out, err = run("events", "-f", *wrong(said(data, kind="text/event-stream")))
    assert (status, out) == (1, "1970-01-01 00:00:00Z session.closed n session 1: reason=idle\n")
    assert "has ended the stream" in err and err.count("\n") == 1
    assert "none that this version" in refused("events", "-f", *wrong(said(b"data: {}\n\n", kind="text/event-stream")))
    assert "refused: no" in refused("log", *wrong(said(PROBLEM, "409 Conflict")))
    assert "none that this version" in refused("log", *wrong(said({"lines": 1})))


# --- netinfo ---


@pytest.mark.parametrize(
    ("address", "column"),
    [
        ("192.0.2.1:8333", "ipv4"),
        ("[2001:db8::1]:8333", "ipv6"),
        ("[::ffff:192.0.2.1]:8333", "ipv4"),
        ("abc.onion:8333", "onion"),
        ("abc.b32.i2p:0", "i2p"),
        ("node.example:8333", "name"),
        ("", "name"),
    ],
)
def test_each_address_counts_in_one_column(address, column):
    assert kind(address) == column


def test_the_matrix_adds_up():
    peers = [
        a_peer(),
        a_peer(slot="block_relay", address="[2001:db8::1]:1"),
        a_peer(slot="manual", address="x.onion:1"),
        a_peer(slot="inbound", inbound=True, address="192.0.2.9:1"),
        a_peer(slot="manual", address="node.example:1"),
    ]
    rows = [line.split() for line in netinfo(a_node(), peers).splitlines()]
    at = rows.index(["ipv4", "ipv6", "onion", "i2p", "name", "total", "block", "manual"])
    assert rows[at + 1 : at + 4] == [
        ["in", "1", "0", "0", "0", "0", "1", "0", "0"],
        ["out", "1", "1", "1", "0", "1", "4", "1", "2"],
        ["total", "2", "1", "1", "0", "1", "5", "1", "2"],
    ]


@pytest.mark.parametrize(("level", "address", "agent"), [(1, 0, 0), (2, 1, 0), (3, 0, 1), (4, 1, 1)])
def test_each_level_shows_more(level, address, agent):
    text = netinfo(a_node(), [a_peer()], level)
    assert ("192.0.2.7:8333" in text, "70016 /x/" in text) == (bool(address), bool(agent))
    (row,) = [line.split() for line in text.splitlines() if line.startswith("out  full")]
    assert row[:12] == ["out", "full", "ipv4", "nw", "tcp", "10", "20", "1", "2", "2", "60", "7"]


def test_the_legend_explains_every_column():
    head = next(line for line in netinfo(a_node(), [a_peer()], 4).splitlines() if line.startswith("<->")).split()
    words = set(re.findall(r"[\w<>-]+", HELP))
    assert [title for title in head if title not in words and title not in ("address", "version")] == []
    assert good("netinfo", "--legend") == HELP


# --- the command itself ---


def test_help_imports_nothing_that_only_a_running_command_needs():
    code = "import sys; from p2pframe.cli import main\nmain(['--help'], standalone_mode=False)\nprint([*sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for name in ("twisted", "treq", "rich", "pydantic", "yaml", "p2pframe.admin"):
        assert f"'{name}'" not in out, name
    assert all(re.search(rf"^  {name} ", out, re.MULTILINE) for name in ASKING)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_the_commands(shell):
    done = subprocess.run(
        [sys.executable, "-c", "from p2pframe.cli import main; main(prog_name='p2pframe')"],
        env={"_P2PFRAME_COMPLETE": f"{shell}_complete", "COMP_WORDS": "p2pframe net",
             "COMP_CWORD": "net" if shell == "fish" else "1", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "netinfo" in done.stdout, done.stderr
