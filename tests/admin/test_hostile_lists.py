"""Lists that peers make long: none is answered, or shown, whole."""

from pathlib import Path
from urllib.parse import quote

import pytest_twisted

from p2pframe.admin.limits import PENALTIES


@pytest_twisted.ensureDeferred
async def test_who_is_kept_out_comes_in_pages(web):
    web.view.kept_out = 2100
    found, cursor, pages = [], None, 0
    while cursor is not None or not pages:
        more = "" if cursor is None else f"&cursor={quote(cursor)}"
        answer = await web.ask(path=f"/api/v1/bans?limit=1000{more}", **web.viewer)
        assert answer.status == 200
        assert len(answer.json["penalties"]) <= 1000
        found += [one["subject"] for one in answer.json["penalties"]]
        cursor, pages = answer.json["next"], pages + 1
    assert found == [f"192.0.2.{9 + number}" for number in range(2100)]
    assert pages == 3
    assert len((await web.ask(path="/api/v1/bans", **web.viewer)).json["penalties"]) == 100


@pytest_twisted.ensureDeferred
async def test_the_page_shows_the_latest_who_are_kept_out_and_says_that_there_are_more(web):
    web.view.kept_out = PENALTIES
    text = (await web.ask(path="/bans", **web.viewer)).body.decode()
    assert text.count("data-key=\"node/192.0.2.") == PENALTIES and "These are the latest" not in text
    web.view.kept_out = 10_000
    text = (await web.ask(path="/bans", **web.viewer)).body.decode()
    assert text.count("data-key=\"node/192.0.2.") == PENALTIES
    assert f"These are the latest {PENALTIES}" in text


@pytest_twisted.ensureDeferred
async def test_the_description_of_the_api_is_made_once(web):
    one, other = [await web.ask(path="/api/v1/openapi.json", **web.viewer) for _ in range(2)]
    assert one.body == other.body and one.json["paths"]["/api/v1/bans"]


@pytest_twisted.ensureDeferred
async def test_of_what_is_dear_to_reckon_less_is_told_at_once(web):
    assert (await web.ask(path="/api/v1/networks/net/spreads?limit=200", **web.viewer)).status == 200
    assert (await web.ask(path="/api/v1/networks/net/spreads?limit=201", **web.viewer)).status == 422


@pytest_twisted.ensureDeferred
async def test_a_capture_that_makes_room_while_it_is_looked_at_is_not_there(web, monkeypatch):
    folder = web.context.data_dir / "captures"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}-1-net-1.p2pcap").write_bytes(b"x")
    going = folder / "1-1-net-1.p2pcap"
    usual = Path.is_file

    def is_file(path):
        found = usual(path)
        if path == going:
            path.unlink(missing_ok=True)
        return found

    monkeypatch.setattr(Path, "is_file", is_file)
    answer = await web.ask(path="/api/v1/captures", **web.operator)
    assert [one["name"] for one in answer.json["captures"]] == ["0-1-net-1.p2pcap", "2-1-net-1.p2pcap"]
    monkeypatch.undo()
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: path.unlink() or read(path))
    assert (await web.ask(path="/api/v1/captures/2-1-net-1.p2pcap", **web.operator)).status == 404
