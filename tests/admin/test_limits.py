"""Bans and limits: which bound a refusal comes from, which bounds are near, and what page and API say of that."""

from __future__ import annotations

from urllib.parse import quote

import pytest
import pytest_twisted

from p2pframe.admin.limits import LATELY, LOOK, which
from p2pframe.interfaces import BoundView

inline = pytest_twisted.ensureDeferred


def bound(path):
    return BoundView("net", path, 1, "", "default", True, "", "", (), ("r",), False, 0.0, None)


@pytest.mark.parametrize(
    ("evidence", "found"),
    [
        ("over 5 unsent bytes (limits.send_buffer_max)", ["limits.send_buffer_max"]),
        ("held by limits.send_buffer", ["limits.send_buffer"]),
        ("114 of 114 block-relay-only slots in use", ["topology.block_relay"]),
        ("it says: limits.unheard_of", ["limits.send_buffer", "limits.send_buffer_max", "topology.block_relay"]),
        ("limits.send_buffer, and a peer says send_buffer_max", ["limits.send_buffer"]),
    ],
)
def test_the_evidence_says_which_of_several_bounds_it_was(evidence, found):
    several = [bound("limits.send_buffer"), bound("limits.send_buffer_max"), bound("topology.block_relay")]
    assert [one.path for one in which(several, evidence)] == found


def test_one_bound_needs_no_naming():
    assert which([bound("limits.visits")], "")[0].path == "limits.visits"
    assert which([], "limits.visits") == []


async def refusals(web, query=""):
    answer = await web.ask("GET", f"/api/v1/refusals{query}", **web.viewer)
    assert answer.status == 200, answer
    return answer.json


@inline
async def test_a_refusal_says_who_why_and_by_which_bound(web):
    web.view.happen("peer.refused", rule="slots", reason="full", evidence="9 of 9", count=7, seconds=60)
    (one,) = (await refusals(web))["refusals"]
    assert (one["what"], one["rule"], one["reason"], one["evidence"]) == ("refused", "slots", "full", "9 of 9")
    assert (one["count"], one["times"], one["address"]) == (7, 3.0, "192.0.2.7:8333")
    assert [(by["path"], by["value"], by["counter"]) for by in one["limits"]] == [
        ("networks.net.topology.places", 10, "p2pframe_refusals_total")
    ]


@inline
async def test_what_no_bound_refuses_is_counted_by_its_reason(web):
    web.view.numbers = lambda: {"p2pframe_refusals_total": {("net", "old-version"): 4.0, ("other", "old-version"): 9.0}}
    web.view.happen("peer.refused", rule="authentication.version", reason="old-version", evidence="speaks 1")
    (one,) = (await refusals(web))["refusals"]
    assert (one["limits"], one["times"]) == ([], 4.0)


@inline
async def test_a_decision_is_counted_by_its_rule(web):
    web.view.numbers = lambda: {"p2pframe_decisions_total": {("net", "floor", "discourage"): 2.0}}
    web.view.happen("peer.judged", rule="floor", action="discourage", reason="bad-block", evidence="e")
    (one,) = (await refusals(web))["refusals"]
    assert (one["what"], one["times"]) == ("discourage", 2.0)


@inline
async def test_decisions_are_told_and_what_nobody_decided_is_not(web):
    happen = web.view.happen
    happen("session.opened", slot="inbound")
    happen("peer.judged", rule="floor", action="discourage", reason="bad-block", evidence="e")
    happen("session.closed", reason="bad-block", opened=True, slot="inbound")
    happen("session.closed", reason="closed-by-peer", opened=True, slot="inbound")
    happen("session.closed", reason="too-much", evidence="(limits.busy_max)", opened=True, slot="inbound")
    happen("session.closed", reason="too-much", opened=False, slot="inbound")
    happen("peer.banned", rule="operator", reason="spam", subject="192.0.2.0/24")
    found = (await refusals(web))["refusals"]
    assert [(one["what"], one["reason"]) for one in found] == [
        ("ban", "spam"), ("ended", "too-much"), ("discourage", "bad-block"),
    ]  # fmt: skip
    assert [by["path"] for by in found[1]["limits"]] == ["networks.net.limits.busy_max"]
    assert found[0]["subject"] == "192.0.2.0/24"


@inline
async def test_a_bound_that_ended_what_a_verdict_judged_is_told_once(web):
    web.view.happen("peer.judged", rule="floor", action="disconnect", reason="too-much", evidence="limits.busy")
    web.view.happen("session.closed", reason="too-much", opened=True, slot="inbound")
    assert [one["what"] for one in (await refusals(web))["refusals"]] == ["disconnect"]


@inline
async def test_refusals_come_in_pages_over_what_is_none(web):
    for number in range(30):
        web.view.happen("peer.refused", rule="r", reason=f"reason-{number}")
        for _ in range(5):
            web.view.happen("session.closed", reason="closed-by-peer", opened=True, slot="inbound")
    seen, query = [], "?limit=4"
    while query:
        page = await refusals(web, query)
        seen += [one["reason"] for one in page["refusals"]]
        assert len(page["refusals"]) <= 4
        query = page["next"] and f"?limit=4&cursor={quote(page['next'])}"
    assert seen == [f"reason-{number}" for number in range(29, -1, -1)]


async def limits(web):
    return (await web.ask("GET", "/api/v1/limits", **web.viewer)).json["limits"]


@inline
async def test_limits_that_are_near_come_first_then_those_that_turned_something_away_lately(web):
    web.clock.advance(LOOK)
    web.view.busy = 4.0
    found = await limits(web)
    assert [one["path"].rpartition(".")[2] for one in found[:2]] == ["places", "busy"]
    near, busy = found[:2]
    assert near["near"] and near["share"] == 0.9 and near["recent"] == 0
    assert (busy["recent"], busy["turned_away"], busy["unit"], busy["share"]) == (4.0, 4.0, "seconds", None)
    filling = next(one for one in found if one["path"].endswith("filling"))
    assert filling["share"] == 1.0 and not filling["near"], "it is to be full"
    for _ in range(int(LATELY / LOOK) + 2):
        web.clock.advance(LOOK)
    assert all(one["recent"] == 0 for one in await limits(web)), "that was long ago"


@inline
async def test_the_overview_names_those_near_their_bound(web):
    node = (await web.ask("GET", "/api/v1/node", **web.viewer)).json
    assert [one["path"] for one in node["near"]] == ["networks.net.topology.places"]
    page = (await web.ask("GET", "/", **web.viewer)).body.decode()
    assert "Limits near their bound" in page and "9 of 10 used" in page
    web.view.bounds = list
    assert "Limits near" not in (await web.ask("GET", "/", **web.viewer)).body.decode()


@inline
async def test_the_page_says_what_is_empty_and_offers_changes_to_who_may_change(web):
    page = (await web.ask("GET", "/bans", **web.viewer)).body.decode()
    assert "Nobody has been turned away." in page and 'data-do="change"' not in page
    web.view.happen("peer.refused", rule="slots", reason="full", evidence="9 of 9 inbound slots")
    page = (await web.ask("GET", "/bans", **web.operator)).body.decode()
    assert "9 of 9 inbound slots" in page and "/config#networks.net.topology.places" in page
    assert 'data-do="change" data-path="networks.net.topology.places"' in page


@inline
async def test_what_the_admin_turns_away_is_counted_by_the_bound(webs):
    web = await webs(sessions=1, tries=2, pause=60)
    def away(bound):
        return web.context.metrics.value("admin_turned_away_total", bound)

    await web.log_in()
    web.clock.advance(1)
    assert away("sessions") == 0 and web.admin.usage()["sessions"] == 1
    await web.log_in(web.code(web.now + 1))
    assert away("sessions") == 1
    for _ in range(4):
        await web.ask("POST", "/api/v1/login", body={"code": "wrong"})
    assert away("tries") >= 1


