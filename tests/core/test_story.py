"""The story of a session: what is remembered of it, while it lives and after, and within which bounds."""

from __future__ import annotations

import pytest

from p2pframe.core.story import EVIDENCE, WINDOW, Rates, Story
from p2pframe.model import ALLOW, Action, Fact, Floor, Item, ItemId, Score, ScorePart, SessionCounters, Topic, Verdict
from tests.core.test_session import connect, end

ALICE = "192.0.2.1"
EXTRA = """
    limits: {story_points: 20, story_facts: 3, story_sessions: 8, netgroup_accepts_burst: 100}
    scoring: [{plugin: behaviour}]
"""


@pytest.fixture
def network(cluster):
    return cluster.start(ALICE, extra=EXTRA).networks["chat"]


def forgotten(network, what):
    return network.stories._forgotten.values.get((what,), 0)


class Scorer:
    """Says what the test wants of it."""

    def __init__(self, name="mine", dry_run=False, verdict=ALLOW):
        self.name, self.dry_run, self.verdict = name, dry_run, verdict
        self.value = 0.5

    def opened(self, session, now):
        pass

    def closed(self, session):
        pass

    def sample(self, session, counters, now):
        return Score(self.name, self.value, (ScorePart("part", self.value, 1.0, 7.0),))

    def observed(self, session, fact, now):
        return self.verdict


def test_a_session_that_lives_has_its_states_scores_and_facts(network, cluster):
    cluster.net.run(10.0)
    session = connect(network)
    began = network.clock.seconds()
    session.fact(Fact("timeout", evidence="not given", proven=True))
    cluster.net.run(30.0)
    story = network.story(session.id)
    assert story.states == (("connecting", began), ("handshaking", began), ("open", began))
    assert story.session.state == "open" and story.ended is None
    assert [time for time, _ in story.samples] == pytest.approx([began, *(began + n for n in (10, 20, 30))], abs=10)
    assert story.samples[0][1] == 1.0
    [fact] = story.facts
    assert (fact.fact.kind, fact.fact.evidence, fact.rule, fact.action, fact.effect) == (
        "timeout", "not given", "", "allow", "noted"
    )  # fmt: skip
    [(score, counts)] = story.scores
    assert score.scorer == "behaviour" and counts
    assert [part.name for part in score.parts] == ["conduct", "unproven"]
    end(session)


def test_a_session_that_ended_says_why_afterwards(network, cluster):
    session = connect(network)
    cluster.net.run(5.0)
    session.fact(Fact("bad-item", Floor.END, "it was empty", proven=True))
    end(session)
    at = network.clock.seconds()
    cluster.net.run(100.0)
    story = network.story(session.id)
    assert (story.ended, story.reason, story.evidence) == (at, "bad-item", "it was empty")
    assert story.now == at + 100.0
    assert [state for state, _ in story.states] == ["connecting", "handshaking", "open", "closing", "closed"]
    assert story.session.errors == 1
    [fact] = story.facts
    assert (fact.rule, fact.action, fact.effect) == ("floor", "disconnect", "acted-on")
    # Its scores are those of the end, though the scorers have forgotten it.
    assert [score.scorer for score, _ in story.scores] == ["behaviour"]
    assert network.story(999) is None


@pytest.mark.parametrize(
    ("scorers", "proven", "rule", "action", "effect"),
    [
        ([Scorer(verdict=Verdict(Action.DISCONNECT, "", "too-much"))], True, "scoring.mine", "disconnect", "acted-on"),
        ([Scorer(dry_run=True, verdict=Verdict(Action.BAN, "", "x"))], True, "scoring.mine", "ban", "dry-run"),
        ([Scorer(verdict=Verdict(Action.BAN, "", "x"))], False, "scoring.mine", "ban", "unproven"),
        ([Scorer()], True, "", "allow", "noted"),
    ],
)
def test_each_fact_has_the_rule_behind_what_came_of_it(network, scorers, proven, rule, action, effect):
    network.standing._scorers = scorers
    session = connect(network)
    session.fact(Fact("odd", proven=proven))
    end(session)
    [fact] = network.story(session.id).facts
    assert (fact.rule, fact.action, fact.effect) == (rule, action, effect)


def test_who_is_protected_is_ended_and_not_remembered_which_is_said(network):
    session = connect(network)
    session.protected = True
    session.fact(Fact("bad-item", Floor.END_AND_DISCOURAGE, proven=True))
    end(session)
    [fact] = network.story(session.id).facts
    assert (fact.action, fact.effect) == ("discourage", "spared")
    assert network.bans.penalties() == []


def test_facts_are_bounded_and_equal_ones_in_a_row_are_one(network, cluster):
    session = connect(network)
    for number in range(4):
        session.fact(Fact("timeout", evidence=f"{number}", proven=True))
        cluster.net.run(1.0)
        session.now = network.clock.seconds()
    [same] = network.story(session.id).facts
    assert (same.times, same.fact.evidence, same.time - same.first) == (4, "3", 3.0)
    for kind in "abc":
        session.fact(Fact(kind, evidence="e" * 10_000))
    story = network.story(session.id)
    assert [one.fact.kind for one in story.facts] == ["a", "b", "c"]
    assert story.forgotten == 4 and forgotten(network, "fact") == 1
    assert all(len(one.fact.evidence) == EVIDENCE for one in story.facts)
    end(session)


def test_the_score_of_a_long_session_is_seen_over_its_whole_life_within_the_bound(network):
    session = connect(network)
    began = network.clock.seconds()
    scorer = Scorer()
    network.standing._scorers = [scorer]
    for number in range(1, 8641):  # a day
        scorer.value = number / 8640
        network.sample(session, began + 10.0 * number)
        assert len(session.story.samples) <= 20
    taken = session.story.samples
    assert taken[0][0] == began and taken[-1] == pytest.approx((began + 86_400, 1.0))
    ages = [began + 86_400 - time for time, _ in taken]
    assert ages == sorted(ages, reverse=True)
    # There is something of the first hours, and of the last ones more.
    assert any(40_000 < age < 80_000 for age in ages)
    assert sum(age < 10_000 for age in ages) > sum(age > 40_000 for age in ages)
    assert forgotten(network, "score") >= 8600
    end(session)


def test_samples_of_one_moment_are_bounded_too():
    story = Story(5.0)
    for _ in range(100):
        story.scored(0.5, 5.0, 10)
    assert len(story.samples) <= 10


def test_a_lowered_bound_holds_from_the_next_sample_on():
    story = Story(0.0)
    for number in range(100):
        story.scored(0.5, number, 100)
    assert story.scored(0.5, 100, 10) >= 90
    assert len(story.samples) <= 10


def test_ended_sessions_are_bounded_and_strangers_wash_nobody_out(network):
    opened = []
    for number in range(6):
        session = connect(network, port=5000 + number)
        opened.append(session.id)
        end(session)
    for number in range(30):
        stranger = connect(network, port=6000 + number, hello=False)
        end(stranger)
    known = [id for id in range(1, 40) if network.story(id) is not None]
    assert known == [*opened, stranger.id - 1, stranger.id]
    assert network.story(stranger.id).reason == "closed-by-peer"
    assert forgotten(network, "session") == 28
    for number in range(6):
        session = connect(network, port=7000 + number)
        end(session)
    assert network.story(opened[0]) is None
    assert network.story(session.id) is not None and network.story(stranger.id) is not None


def test_a_look_at_a_peer_is_not_kept(network):
    session = connect(network)
    session.close("feeler-done")
    end(session)
    assert network.story(session.id) is None


def test_what_a_peer_announced_and_brought_is_its_inventory(network, monkeypatch):
    session = connect(network)
    topic = Topic("line")
    scheduler, items = network.scheduler, network.items
    ids = [ItemId(b"%08d" % number) for number in range(80)]
    scheduler.offer(topic, ids, session.id, False, network.clock.seconds())
    scheduler.failed(topic, ids[79], session.id)
    items.spread(Item(topic, ItemId(b"brought"), "x", 1), session)
    session.useful_count = 1
    [of] = network.story(session.id).inventory
    assert of.topic == "line" and of.asked + of.waiting <= of.announced <= 80
    assert of.asked > 0
    assert len(of.latest) == 50
    assert {state for _, state in of.latest} <= {"asked", "waiting", "announced", "failed"}
    assert of.brought == (b"brought",)
    end(session)
    # What it had told of is known still.
    assert network.story(session.id).inventory[0].brought == (b"brought",)


def test_rates_follow_what_is_counted_and_fade():
    counters, rates = SessionCounters(0.0), Rates(0.0)
    for number in range(1, 101):
        counters.bytes_in += 2000
        counters.received += 4
        counters.bytes_out += 20
        rates.step(counters, 2.0 * number)
    assert rates.bytes_in == pytest.approx(1000.0, rel=0.01)
    assert rates.bytes_out == pytest.approx(10.0, rel=0.01)
    assert rates.messages_in == pytest.approx(2.0, rel=0.01)
    assert rates.messages_out == 0.0
    rates.step(counters, 200.0 + WINDOW)
    assert 300 < rates.bytes_in < 400
    for number in range(200):
        rates.step(counters, 300.0 + number)
    assert (rates.bytes_in, rates.bytes_out, rates.messages_in) == (0.0, 0.0, 0.0)
    # After a silence the rate is that of the time since the last tick, not of the whole silence.
    counters.bytes_in += 1000
    rates.step(counters, 501.0)
    assert rates.bytes_in > 10


def test_a_snapshot_has_the_rates_and_the_errors(network, cluster):
    session = connect(network)
    session.dataReceived(b"PING " + b"x" * 500 + b"\n")
    cluster.net.run(2.5)
    session.counters.rejected_items = 3
    session.fact(Fact("unpleasant"))
    snapshot = session.snapshot()
    assert snapshot.rate_in > 10 and snapshot.rate_out > 2
    assert snapshot.message_rate_in > 0
    assert snapshot.errors == 3
    end(session)


def test_a_session_that_only_sits_there_costs_little(network):
    import tracemalloc

    stories = []
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(200):
        story = Story(1000.5 + number)
        for state in ("handshaking", "open"):
            story.entered(state, 1001.5 + number)
        stories.append(story)
    fresh = (tracemalloc.get_traced_memory()[0] - before) / 200
    for story in stories:
        for number in range(500):
            story.scored(0.5, story.began + 10 * number, 100)
    old = (tracemalloc.get_traced_memory()[0] - before) / 200
    tracemalloc.stop()
    assert fresh < 700
    assert old < 1700
