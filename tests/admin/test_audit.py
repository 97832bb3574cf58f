"""What was changed, and by whom: kept, bounded, and not to be pushed out by who changed nothing."""

import json
import os
import re

import pytest
import pytest_twisted

from p2pframe.admin.audit import Audit
from p2pframe.admin.routes import Call
from tests.admin.web import OPERATOR


def call(now=1000.0, who="token x"):
    return Call({}, None, None, who, None, None, "192.0.2.1", now)


def lines(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_a_line_of_json_for_each_change(tmp_path):
    audit = Audit(tmp_path / "audit")
    audit.note(call(), "banned", subject="192.0.2.9", reason="a\nb\x1b[31m", seconds=5.0)
    audit.note(call(who=""), "disconnected", session=7, network="net")
    one, other = lines(tmp_path / "audit")
    assert one["fields"] == {"who": "token x", "subject": "192.0.2.9", "reason": "a\nb\x1b[31m", "seconds": 5.0}
    assert (one["address"], one["time"], one["kind"]) == ("192.0.2.1", 1000.0, "banned")
    assert (other["session"], other["network"], other["fields"]["who"]) == (7, "net", "nobody")
    assert [row.number for row in audit.since(0, 10)] == [1, 2]
    assert b"\x1b" not in (tmp_path / "audit").read_bytes()


def test_nobody_else_may_read_it_whatever_it_was_before(tmp_path):
    path = tmp_path / "audit"
    path.write_text("")
    path.chmod(0o644)
    before = os.umask(0)
    try:
        Audit(path).note(call(), "banned")
        Audit(tmp_path / "other").note(call(), "banned")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == (tmp_path / "other").stat().st_mode & 0o777 == 0o600


def test_it_is_no_way_to_write_to_another_file(tmp_path):
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "audit").symlink_to(tmp_path / "victim")
    audit = Audit(tmp_path / "audit")
    audit.note(call(), "banned")
    assert (tmp_path / "victim").read_text() == "mine"
    assert len(audit.since(0, 10)) == 1, "that it can't be written stops nobody"


def test_the_file_and_the_list_are_bounded(tmp_path):
    path = tmp_path / "audit"
    audit = Audit(path, kept=10, largest=2000)
    for number in range(100):
        audit.note(call(), "banned", reason="x" * 10_000, n=number)
        assert path.stat().st_size <= 2000
    assert [row.number for row in audit.since(0, 1000)] == list(range(91, 101))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["audit", "audit.1"]
    assert lines(path)[-1]["fields"]["n"] == 99


def test_a_flood_of_refusals_pushes_out_nothing_and_is_counted(tmp_path):
    path = tmp_path / "audit"
    audit = Audit(path, kept=10, largest=20_000)
    audit.note(call(), "banned", subject="192.0.2.9")
    for number in range(100_000):
        audit.note(call(1000.0 + number / 10_000), "login refused", reason="unknown")
    access = tmp_path / "access.jsonl"
    assert access.stat().st_size < 20_000 and len(lines(path)) == 1
    assert [line["kind"] for line in lines(access)] == ["login refused"] * 20
    assert audit.since(0, 100)[0].kind == "banned"
    audit.note(call(1100.0), "login refused", reason="unknown")
    assert lines(access)[-1]["fields"]["left_out"] == 100_000 - 20
    for number in range(300):
        audit.note(call(2000.0 + number * 60), "login refused", reason="unknown")
    kept = audit.since(0, 100_000)
    assert kept[0].kind == "banned" and len(kept) <= 10 + 100
    assert [row.number for row in kept] == sorted(row.number for row in kept)


def test_who_logs_in_all_the_time_pushes_out_no_change(tmp_path):
    path = tmp_path / "audit"
    audit = Audit(path, kept=10, largest=20_000)
    audit.note(call(), "banned", subject="192.0.2.9")
    for _ in range(1000):
        audit.note(call(), "logged in", by="key")
        audit.note(call(), "logged out")
    assert [line["kind"] for line in lines(path)] == ["banned"] and not (tmp_path / "audit.1").exists()
    access = tmp_path / "access.jsonl"
    assert (access.stat().st_size <= 20_000) and access.stat().st_mode & 0o777 == 0o600
    assert [row.kind for row in audit.changes(5)] == ["banned"]
    assert [row.kind for row in audit.access(2)] == ["logged out", "logged in"]
    kept = audit.since(0, 10_000)
    assert kept[0].kind == "banned" and len(kept) <= 1 + 100


@pytest.mark.parametrize("step", [1, 7])
def test_a_line_is_written_whole(tmp_path, monkeypatch, step):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(data[:step])))
    Audit(tmp_path / "audit").note(call(), "banned")
    monkeypatch.undo()
    assert lines(tmp_path / "audit")[0]["kind"] == "banned"


@pytest_twisted.ensureDeferred
async def test_every_change_is_told_with_who_made_it(web):
    session = await web.log_in()
    await web.ask("POST", "/api/v1/login", body={"code": "x"})
    body = {"subject": "192.0.2.9", "duration": 5, "reason": "why"}
    await web.ask("POST", "/api/v1/bans", body=body, **session.headers)
    await web.ask("POST", "/api/v1/bans", body=body, **web.viewer)
    await web.ask("POST", "/api/v1/bans/lift", body={"subject": "192.0.2.9"}, **web.operator)
    await web.ask("POST", "/api/v1/peers/net/1/disconnect", body={"reason": "why"}, **web.operator)
    access, told = (
        [(line["kind"], line["fields"]["who"]) for line in lines(web.context.data_dir / name)]
        for name in ("access.jsonl", "audit.jsonl")
    )
    assert access == [("logged in", "a person"), ("login refused", "nobody")]
    assert told == [("banned", "a person"), ("unbanned", "token operator"), ("disconnected", "token operator")]
    shown = (await web.ask("GET", "/api/v1/audit", **web.viewer)).json["events"]
    assert [one["kind"] for one in shown] == [kind for kind, _ in access + told]


@pytest_twisted.ensureDeferred
async def test_the_page_of_the_configuration_shows_it_newest_first_and_bounded(web):
    headers = (await web.log_in()).headers
    for number in range(105):
        body = {"subject": f"192.0.2.{number}", "duration": 60, "reason": "<b>why</b>"}
        assert (await web.ask("POST", "/api/v1/bans", body=body, **headers)).status == 204
    page = (await web.ask("GET", "/config", **headers)).body.decode()
    shown = re.findall(r'data-key="audit (\d+)"', page)
    assert shown.pop() == "1" and page.index("Log-ins") < page.index('data-key="audit 1"')
    assert shown == [str(number) for number in range(106, 6, -1)]
    assert "192.0.2.104" in page and "192.0.2.4<" not in page
    assert "<b>why" not in page and "&lt;b&gt;why" in page


@pytest_twisted.ensureDeferred
async def test_it_says_who_was_acted_on_as_ids_begin_again_with_each_start(web):
    asked = {"authorization": f"Bearer {OPERATOR}"}
    session = web.view.sessions()[0]
    at = f"/api/v1/peers/{session.network}/{session.id}"
    await web.ask("POST", f"{at}/protect", body={"protected": True}, **asked)
    await web.ask("POST", f"{at}/disconnect", body={"reason": "for the test"}, **asked)
    rows = (await web.ask(path="/api/v1/audit", **asked)).json
    found = {row["kind"]: row["fields"].get("peer") for row in rows["events"]}
    assert found["protected"] == found["disconnected"] == str(session.address)
