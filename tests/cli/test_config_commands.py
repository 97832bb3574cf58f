"""`p2pframe config`: what is set over the file of a running node, by the words of a terminal."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest

from p2pframe.cli.remote.config import _plain
from tests.cli.remote import good, refused, run, said
from tests.cli.test_top import Terminal

VISITS, TICK = "networks.bitcoin.limits.visits", "networks.bitcoin.limits.tick"


@pytest.fixture
def clean(nodes):
    """Nothing is set before, nor after."""
    yield nodes
    found = json.loads(good("config", "diff", "--json", *nodes.by_config))["changed"]
    words = [word for key in found for word in ("--take-back", key)]
    if words:
        good("config", "apply", "--yes", *words, *nodes.by_config)


def changed(nodes):
    return json.loads(good("config", "diff", "--json", *nodes.by_token))["changed"]


def answered(nodes, answer, *words, command="apply"):
    """A command that asks, and is told `answer`."""
    done = subprocess.run(
        [sys.executable, "-m", "p2pframe.cli", "config", command, *map(str, [*words, *nodes.by_config])],
        input=answer, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def test_what_would_change_is_told_and_changes_nothing(clean):
    assert good("config", "diff", *clean.by_config) == "nothing is set over the file\n"
    told = good("config", "diff", "-s", f"{VISITS}=7", "-s", f"{TICK}=3s", *clean.by_config)
    assert told == f"{VISITS}: 32 -> 7\n{TICK}: 2.0 -> 3.0\n"
    assert good("config", "diff", "-s", f"{VISITS}=32", *clean.by_config) == "nothing would change\n"
    assert changed(clean) == {}


def test_what_is_set_stays_set_until_it_is_taken_back(clean):
    assert good("config", "apply", "-y", f"{VISITS}=7", *clean.by_config)
    assert good("config", "apply", "-y", f"{TICK}=3s", *clean.by_config)
    assert changed(clean) == {VISITS: 7, TICK: "3s"}
    table = good("config", "diff", *clean.by_config)
    assert f"{TICK}    \"3s\"" in table and f"  {VISITS}: 7 -> 32\n" in table
    # What the file has is not a viewer's to ask.
    assert "taken back" not in good("config", "diff", *clean.by_token)
    assert good("config", "diff", "--take-back", TICK, *clean.by_config) == f"{TICK}: 3.0 -> 2.0\n"
    assert "nothing was changed" in good("config", "apply", f"{VISITS}=7", *clean.by_config)
    assert good("config", "apply", "-y", "--take-back", VISITS, *clean.by_config) == f"{VISITS}: 7 -> 32\n"
    assert changed(clean) == {TICK: "3s"}
    assert "is not set over the file" in refused("config", "apply", "--take-back", VISITS, *clean.by_config)


def test_it_is_asked_first(clean):
    status, out, err = answered(clean, "n\n", f"{VISITS}=7")
    assert (status, err) == (1, "Aborted!\n") and out.startswith(f"{VISITS}: 32 -> 7\nApply? [y/N]: ")
    status, out, err = answered(clean, "", f"{VISITS}=7")
    assert status == 1 and changed(clean) == {}
    status, out, err = answered(clean, "y\n", f"{VISITS}=7")
    assert (status, err) == (0, "") and changed(clean) == {VISITS: 7}
    done = json.loads(good("config", "apply", f"{VISITS}=8", "--json", *clean.by_config))
    assert done == {"differences": [f"{VISITS}: 7 -> 8"]}


def test_ctrl_c_at_the_question_changes_nothing(clean):
    with Terminal("config", "apply", f"{VISITS}=7", *clean.by_config) as terminal:
        terminal.until(b"Apply?")
        terminal.asleep()
        terminal.type(b"\x03")
        assert terminal.ended() == 1
        assert b"Aborted!" in terminal.out and b"Traceback" not in terminal.out
    assert changed(clean) == {}


def test_what_somebody_else_sets_meanwhile_is_not_undone(clean):
    with Terminal("config", "apply", f"{VISITS}=7", *clean.by_config) as terminal:
        terminal.until(b"Apply?")
        good("config", "apply", "-y", f"{TICK}=3s", *clean.by_config)
        terminal.type(b"y\n")
        assert terminal.ended() == 1
        assert b"somebody has set something meanwhile" in terminal.out
    assert changed(clean) == {TICK: "3s"}


def test_the_history_undoes(clean):
    good("config", "apply", "-y", f"{VISITS}=7", *clean.by_config)
    good("config", "apply", "-y", f"{VISITS}=8", *clean.by_config)
    one, two = json.loads(good("config", "history", "--json", *clean.by_config))["versions"][-2:]
    assert two["changed"] == {VISITS: 8}
    table = good("config", "history", *clean.by_config)
    assert f"{VISITS}: 7 -> 8" in table and time.strftime("%Y-", time.gmtime(two["time"])) in table
    assert good("config", "rollback", "-y", two["number"], *clean.by_config) == f"{VISITS}: 8 -> 7\n"
    assert changed(clean) == {VISITS: 7}
    good("config", "rollback", one["number"], "--json", *clean.by_config)
    assert changed(clean) == {}
    assert "there is no change 999 in the history" in refused("config", "rollback", 999, *clean.by_config)
    assert "there is no change 999 in the history" in refused("config", "rollback", 999, "-y", *clean.by_config)


def test_an_undo_is_asked_first(clean):
    good("config", "apply", "-y", f"{VISITS}=7", *clean.by_config)
    number = json.loads(good("config", "history", "--json", *clean.by_config))["versions"][-1]["number"]
    status, out, err = answered(clean, "n\n", number, command="rollback")
    assert (status, err) == (1, "Aborted!\n") and out.startswith(f"{VISITS}: 7 -> 32\nUndo? [y/N]: ")
    assert changed(clean) == {VISITS: 7}
    with Terminal("config", "rollback", number, *clean.by_config) as terminal:
        terminal.until(b"Undo?")
        good("config", "apply", "-y", f"{TICK}=3s", *clean.by_config)
        terminal.type(b"y\n")
        assert terminal.ended() == 1
        assert b"somebody has set something meanwhile" in terminal.out
    assert changed(clean) == {VISITS: 7, TICK: "3s"}
    status, out, err = answered(clean, "y\n", number, command="rollback")
    assert (status, err) == (0, "") and changed(clean) == {}


def test_what_was_before_the_file_was_read_again_is_not_undone(clean):
    good("config", "apply", "-y", f"{VISITS}=7", *clean.by_config)
    number = json.loads(good("config", "history", "--json", *clean.by_config))["versions"][-1]["number"]
    clean.ours.process.send_signal(signal.SIGHUP)
    end = time.monotonic() + 20
    while changed(clean):
        assert time.monotonic() < end, "the file is not read again"
    note = f"the file was read again after change {number}: none up to it can be undone"
    assert note in " ".join(good("config", "history", *clean.by_config).split())
    assert "can't be undone" in refused("config", "rollback", number, *clean.by_config)
    assert changed(clean) == {}


@pytest.mark.parametrize(
    ("word", "why"),
    [
        (f"{VISITS}=many", f"{VISITS}: must be a whole number, found 'many'"),
        (f"{VISITS}=[1]", f"{VISITS}: must be a whole number, found '[1]'"),
        (f"{VISITS}=true", f"{VISITS}: "),
        ("node.data_dir=/tmp", "node.data_dir: is not set while the node runs"),
        ("nonsense=1", "nonsense: "),
    ],
)
def test_what_can_not_be_is_told_with_its_key_and_why(clean, word, why):
    assert why in refused("config", "apply", word, *clean.by_config)
    assert why in refused("config", "apply", "--json", word, *clean.by_config)
    assert why in refused("config", "diff", "-s", word, *clean.by_config)


def test_a_viewer_looks_and_changes_nothing(clean):
    assert good("config", "history", *clean.by_token)
    for words in (["apply", "-y", f"{VISITS}=7"], ["rollback", "1"], ["diff", "-s", f"{VISITS}=7"]):
        assert "this takes the role operator" in refused("config", *words, *clean.by_token)


@pytest.mark.parametrize("words", [["apply"], ["apply", "x"], ["apply", "=1"], ["diff", "-s", "x"], ["rollback", "0"]])
def test_what_is_not_understood_has_status_2(words):
    status, out, err = run("config", *words, "-c", "x")
    assert (status, out) == (2, "") and "Error: " in err


@pytest.mark.parametrize(
    ("text", "value"),
    [("5", 5), ("2.5", 2.5), ("true", True), ("30s", "30s"), ('"5"', "5"), ("", ""), ("null", "null"), ("[1]", "[1]"),
     ("NaN", "NaN"), ("a=b", "a=b"), ("[" * 100_000, "[" * 100_000), ("9" * 5_000, "9" * 5_000)],
)  # fmt: skip
def test_values_are_what_they_look_like(text, value):
    found = _plain(text)
    assert (found, type(found)) == (value, type(value))


def test_what_a_node_says_of_itself_moves_no_cursor(wrong):
    evil = "\x1b[2J[red]evil\ud800"
    version = {"number": 1, "time": 0.0, "who": evil, "differences": [evil], "before": {}, "changed": {}}
    version["undoable"] = False
    pages = {
        "/api/v1/config": {"config": {}, "settings": [], "changed": {evil: evil}},
        "/api/v1/config/check": {"differences": [evil]},
        "/api/v1/config/apply": {"differences": [evil]},
        "/api/v1/config/history": {"versions": [version]},
    }
    words = wrong(lambda path: said(pages[path]))
    for command in (["diff"], ["diff", "-s", "a=1"], ["apply", "-y", "a=1"], ["history"]):
        out = good("config", *command, *words)
        assert "\x1b" not in out and "[2J[red]evil" in out
