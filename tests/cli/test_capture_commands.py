"""`p2pframe capture` on a running node: begun, ended, fetched into files that stay one's own, deleted."""

from __future__ import annotations

import json
import stat

import pytest

from p2pframe.admin.values import Captured, CaptureName
from tests.cli.remote import TOKEN, filled, good, refused, run, said

NAME = "1-1-bitcoin-1.p2pcap"


def captures(nodes):
    return json.loads(good("capture", "list", "--json", *nodes.by_config))["captures"]


def test_a_session_is_captured_fetched_and_forgotten(nodes, session, tmp_path):
    began = good("capture", "start", f"bitcoin/{session}", "--for", "10min", *nodes.by_config)
    name = began.split()[0]
    assert began == f"{name} is being written, for 10min at most\n"
    assert "captured already" in refused("capture", "start", nodes.other.address, *nodes.by_config)
    assert "under way" in good("capture", "list", *nodes.by_config)
    assert "under way" in refused("capture", "delete", name, *nodes.by_config)
    assert good("capture", "stop", session, *nodes.by_config) == f"{session} is not captured any more\n"
    (one,) = captures(nodes)
    assert (one["name"], one["running"]) == (name, False)
    file = tmp_path / "a.p2pcap"
    assert good("capture", "get", name, "-o", file, *nodes.by_config) == f"{file}: {one['size']:,} bytes\n"
    assert (file.stat().st_size, stat.S_IMODE(file.stat().st_mode)) == (one["size"], 0o600)
    assert "network: bitcoin" in good("capture", "show", file)
    assert good("capture", "delete", name, *nodes.by_config) == f"{name} is deleted\n"
    assert good("capture", "list", *nodes.by_config) == "there are no captures\n"
    assert "there is no such capture" in refused("capture", "get", name, "-o", tmp_path / "b", *nodes.by_config)
    assert [path.name for path in tmp_path.iterdir()] == ["a.p2pcap"]


def test_json_is_what_the_api_says(nodes, session):
    name = json.loads(good("capture", "start", session, "--json", *nodes.by_config))["name"]
    assert good("capture", "stop", f"bitcoin/{session}", "--json", *nodes.by_config) == "{}\n"
    assert good("capture", "delete", name, "--json", *nodes.by_config) == "{}\n"


def test_refusals_are_one_sentence(nodes, session):
    assert "is not captured" in refused("capture", "stop", session, *nodes.by_config)
    assert "no network 'other'" in refused("capture", "start", "other/1", *nodes.by_config)
    assert refused("capture", "start", "bitcoin/99999", *nodes.by_config)
    assert "there is no peer 99999" in refused("capture", "start", "99999", *nodes.by_config)
    assert "operator" in refused("capture", "list", *nodes.by_token)
    assert "operator" in refused("capture", "start", session, *nodes.by_token)


@pytest.mark.parametrize(
    "words", [["start", "1", "--for", "long"], ["get", "../x"], ["get", "/x"], ["get", ".x"], ["get", ""], ["start"]]
)
def test_what_is_not_understood_has_status_2(words):
    status, out, err = run("capture", *words, "-c", "x")
    assert (status, out) == (2, "") and "Error: " in err


def test_for_how_long_is_said_before_the_node_is_asked(wrong):
    words = wrong(said({"name": NAME}))
    for length, why in (("48h", "at most 24 hours"), ("86401s", "at most 24 hours"), ("0s", "more than 0")):
        status, out, err = run("capture", "start", "bitcoin/1", "--for", length, *words)
        assert (status, out) == (2, "") and "\nError: Invalid value for --for: " in err, err
        assert err.endswith(f"{why}\n"), err
    assert wrong.seen == []
    assert good("capture", "start", "bitcoin/1", "--for", "24h", *words)


def binary(data, **changes):
    return said(data, kind="application/octet-stream", **changes)


def test_what_is_there_is_overwritten_only_by_force(wrong, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"old")
    file.chmod(0o644)
    words = ("capture", "get", NAME, "-o", file, *wrong(binary(b"new")))
    assert "--force overwrites it" in refused(*words) and wrong.seen == []
    assert file.read_bytes() == b"old"
    good(*words, "--force")
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"new", 0o600)


def test_what_a_link_leads_to_is_never_written(wrong, tmp_path):
    other, link = tmp_path / "other", tmp_path / "link"
    other.write_bytes(b"old")
    words = ("capture", "get", NAME, "-o", link, *wrong(binary(b"new")))
    link.symlink_to(tmp_path / "nothing")
    assert "is there already" in refused(*words)
    link.unlink()
    link.symlink_to(other)
    good(*words, "--force")
    assert (other.read_bytes(), link.read_bytes(), link.is_symlink()) == (b"old", b"new", False)


def test_what_has_come_to_be_there_meanwhile_stays(wrong, tmp_path):
    file = tmp_path / "file"

    def answer(path):
        file.write_bytes(b"another's")
        return binary(b"new")

    assert "is there already" in refused("capture", "get", NAME, "-o", file, *wrong(answer))
    assert file.read_bytes() == b"another's" and [*tmp_path.glob("*file*")] == [file]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (binary(b"half", length=100), "no node answers"),
        (said({"title": "Not found", "detail": "gone"}, "404 Not Found"), "refused: gone"),
        (said(b"", "302 Found\r\nLocation: http://127.0.0.1:1/"), "answered 302"),
        (b"", "no node answers"),
    ],
)
def test_a_file_that_has_not_come_whole_is_none(wrong, tmp_path, answer, why):
    folder = tmp_path / "out"
    folder.mkdir()
    assert why in refused("capture", "get", NAME, "-o", folder / "x", *wrong(answer))
    assert [*folder.iterdir()] == []
    assert wrong.seen == [(f"/api/v1/captures/{NAME}", f"Bearer {TOKEN}")]


def test_where_nothing_can_be_written_is_said(wrong, tmp_path):
    file = tmp_path / "none" / "x"
    assert refused("capture", "get", NAME, "-o", file, *wrong(binary(b"new"))).startswith(f"{file}: ")


def test_a_name_is_one_part_of_the_address(wrong, tmp_path):
    words = wrong(binary(b"new"))
    good("capture", "get", "../node?x#y", "-o", tmp_path / "x", *words)
    assert wrong.seen[0][0] == "/api/v1/captures/..%2Fnode%3Fx%23y"


def test_names_of_captures_move_no_cursor(wrong):
    evil = "\x1b[2J[red]evil\ud800"
    words = wrong(said({"captures": [filled(Captured, name=evil).model_dump()]}))
    assert r"\x1b[2J[red]evil" in good("capture", "list", *words)
    words = wrong(said(filled(CaptureName, name=evil).model_dump()))
    assert "\x1b" not in good("capture", "start", "bitcoin/1", *words)
