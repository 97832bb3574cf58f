"""The story of a peer: what the API and the page tell of it, of one that is there and of one that is gone."""

from dataclasses import replace

import pytest

from p2pframe.admin import rows
from p2pframe.admin.curve import WIDTH, curve
from p2pframe.admin.peers import story
from p2pframe.admin.verdict import verdict
from p2pframe.interfaces import Event
from p2pframe.interfaces.story import HeardFact
from p2pframe.model import Fact, Floor, Score, ScorePart
from tests.admin.web import View

FACT = Fact("odd", Floor.NOTE, "seen", True)


def of(ended=None, facts=(), **peer):
    """A story of one that behaves, but for what is given."""
    found = View().story("net", 1)
    good = {"state": "open", "score": 0.8, "last_item": 990.0, "useful": 2, "ping": 0.02} | peer
    return replace(found, session=replace(found.session, **good), facts=tuple(facts), ended=ended)


@pytest.mark.parametrize(
    ("told", "tone", "says"),
    [
        (of(), "good", "Good: its score is 0.80, it brought 2 items first, the last 10 s ago, it answers in 20 ms."),
        (of(last_item=0.0, useful=0, started=900.0), "", "New: too early to say, after 1 min 40 s."),
        (of(last_item=0.0, useful=0), "", "Of no use so far, with nothing against it"),
        (of(state="handshaking"), "warn", "Not open: handshaking since 3 min 20 s."),
        (of(score=0.1), "warn", "Poor: its score is 0.10, for plain 40%."),
        (of(errors=1), "bad", "Suspicious because it made 1 error (items refused, rules broken)."),
        (of(timeouts=30), "bad", "Suspicious because it did not answer 30 requests in time."),
        (of(timeouts=30, accepted_items=100), "good", "Good"),
        (of(facts=[HeardFact(1, 1, 2, FACT, "", "allow", "noted")]), "good", "Good"),
        (
            of(facts=[HeardFact(1, 1, 2, FACT, "scoring.behaviour", "ban", "dry-run")]), "bad",
            "Suspicious because of odd 2 times, for which scoring.behaviour would ban it (a dry run).",
        ),
        (of(facts=[HeardFact(1, 1, 1, FACT, "x", "ban", "unproven")]), "bad", "x would ban it (which is not proven)."),
        (of(ended=940.0), "", "This peer is connected no longer. It went 1 min ago: plain (plain)."),
        (
            of(ended=940.0, facts=[HeardFact(1, 1, 1, FACT, "floor", "disconnect", "acted-on")]), "bad",
            "plain (plain), decided by floor.",
        ),
    ],
)  # fmt: skip
def test_a_sentence_says_what_to_think_of_it(told, tone, says):
    assert verdict(told)[0] == tone
    assert says in verdict(told)[1]


def test_suspicions_are_told_as_far_as_a_sentence_goes():
    facts = [HeardFact(1, 1, 1, Fact(f"kind{at}"), "r", "ban", "dry-run") for at in range(20)]
    said = verdict(of(facts=facts))[1]
    assert "kind2" in said and "kind3" not in said and said.endswith(", and 17 more.")


def test_a_score_without_parts_is_poor_all_the_same():
    told = replace(of(score=0.1), scores=((Score("s", 0.1, (ScorePart("p", 0.1, 1.0),)), False),))
    assert verdict(told)[1] == "Poor: its score is 0.10."


def test_the_line_goes_through_the_samples_and_is_told_in_words():
    told = story(View().story("net", 1), 2_000_000_000.0)
    drawn = curve(told, 2_000_000_000.0)
    points = [tuple(map(float, one.split(","))) for one in drawn.points.split()]
    assert len(points) == 4  # the last score holds until now
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert points[0][1] > points[1][1] > points[2][1] == points[3][1]
    assert points[0][0] == 0 and points[3][0] == WIDTH
    assert drawn.says == "From 0.25 to 1.00, at least 0.25, at most 1.00."
    assert [mark.grave for mark in drawn.marks] == [True, True]
    assert curve(told.model_copy(update={"samples": told.samples[:1]}), 1.0) is None


async def test_the_story_in_the_api(web):
    answer = await web.ask(path="/api/v1/peers/net/1/story", **web.viewer)
    assert answer.status == 200
    told = answer.json
    assert told["peer"]["id"] == 1 and told["ended"] is None
    past = web.now - 1000.0
    assert told["states"] == [
        {"state": "open", "time": 100.0 + past, "lasted": 700.0}, {"state": "plain", "time": 800 + past, "lasted": None}
    ]
    assert told["facts"][0] == {
        "first": 840.0 + past, "time": 850.0 + past, "times": 3, "kind": "plain", "floor": "end", "evidence": "plain",
        "proven": True, "weight": 1.0, "rule": "plain", "action": "disconnect", "effect": "acted-on",
    }
    assert told["inventory"][0]["latest"] == [{"id": b"item".hex(), "state": "asked"}]
    assert [one["counts"] for one in told["scores"]] == [True, False]


async def test_who_is_gone_is_known_for_a_while_and_who_never_was_is_not(web):
    answer = await web.ask(path="/api/v1/peers/net/7/story", **web.viewer)
    assert (answer.status, answer.json["reason"]) == (200, "plain")
    assert answer.json["ended"] == web.now - 100.0
    page = await web.ask(path="/peers/net/7", **web.operator)
    assert page.status == 200
    text = page.body.decode()
    assert "This peer is connected no longer." in text and "decided by plain" in text
    assert 'data-do="disconnect"' not in text and 'data-do="ban"' in text
    for path in ("/peers/net/8", "/api/v1/peers/net/8/story", "/api/v1/peers/other/1/story"):
        assert (await web.ask(path=path, **web.operator)).status == 404


async def test_a_page_has_every_part(web):
    text = (await web.ask(path="/peers/net/1", **web.operator)).body.decode()
    for part in ("Score over time", "What the score is made of", "States", "Facts", "Inventory", "dry run", "3 times"):
        assert part in text, part
    assert "<polyline" in text and 'style="' not in text
    assert "2 earlier ones had to make room" in text


async def test_the_table_has_more_columns_where_they_are_asked_for(web):
    few = (await web.ask(path="/peers", **web.operator)).body.decode()
    all_of_it = (await web.ask(path="/peers?columns=all", **web.operator)).body.decode()
    for name in ("Ping", "In/s", "Out/s", "Score", "Useful", "Age"):
        assert f">{name}</button>" in few and f">{name}</button>" in all_of_it
    for name in ("Best ping", "Messages", "Netgroup", "Timeouts", "Errors", "Queue", "Protection", "Transport"):
        assert f">{name}</button>" not in few and f">{name}</button>" in all_of_it
    assert (await web.ask(path="/peers?columns=none", **web.operator)).status == 422


async def test_a_row_has_a_cell_for_each_head(web):
    for path in ("/peers", "/peers?columns=all"):
        for who in (web.viewer, web.operator):
            text = (await web.ask(path=path, **who)).body.decode()
            table = text[text.index('<table id="peers"') : text.index("</table>", text.index('<table id="peers"'))]
            assert table.count("<th ") == table.count("<td"), path


async def test_nothing_of_a_story_is_markup(webs):
    web = await webs(text="<img src=x onerror=alert(1)>'\"&")
    for path in ("/peers/net/1", "/peers/net/7", "/peers?columns=all"):
        text = (await web.ask(path=path, **web.operator)).body.decode()
        assert "<img src=x" not in text
        assert "&lt;img src=x" in text


def test_the_scores_of_an_event_are_told_in_words():
    parts = (ScorePart("conduct", 0.25, 1.0, 150.0), ScorePart("unproven", 1.0, 0.0, 0.0))
    scores = (Score("behaviour", 0.25, parts), Score("mine", 1.0))
    told = rows.event(Event(1, 1.0, "peer.judged", "net", None, None, {"scores": scores, "other": (1, 2)}))
    assert told.fields == {"scores": "behaviour 0.25 (conduct 0.25), mine 1.00", "other": "(1, 2)"}
