"""Every bound of the configuration says what counts what it turns away, and has a test that it holds: this is the list.

A field that is added to one of the models fails here until it is declared by `bound`, which names its counter, and has its
test in one of these tables; or is named as no bound.
"""

# ruff: noqa: E501 - a row of the tables is a line

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from p2pframe.config.settings import Limits, NodeSettings
from p2pframe.plugin import bound_of
from p2pframe.protocols.bitcoin.config import BitcoinConfig

TESTS = Path(__file__).parents[1]

LIMITS = {
    "receive_buffer": "core/test_session.py::test_a_session_in_the_handshake_holds_no_more_than_the_bound_while_it_is_being_proved",
    "receive_buffers_total": "core/test_session.py::test_half_messages_of_all_are_bounded_and_whoever_dialled_us_goes_first",
    "send_buffer": "core/test_session.py::test_a_peer_that_does_not_read_is_not_answered_and_loses_nothing_when_it_does",
    "send_buffer_max": "core/test_session.py::test_a_session_that_takes_nothing_of_too_much_is_ended_with_the_reason",
    "send_buffers_total": "core/test_session.py::test_unsent_bytes_of_all_are_bounded_by_ending_the_worst_once",
    "messages_per_second": "hostile/test_floods.py::test_a_flood_of_any_type_is_read_no_faster_than_the_budget_and_others_do_not_feel_it",
    "messages_burst": "hostile/test_floods.py::test_a_flood_of_any_type_is_read_no_faster_than_the_budget_and_others_do_not_feel_it",
    "bytes_per_second": "hostile/test_bounds.py::test_bytes_are_read_no_faster_than_the_budget",
    "bytes_burst": "hostile/test_bounds.py::test_bytes_are_read_no_faster_than_the_budget",
    "excess_time": "hostile/test_floods.py::test_sustained_excess_is_a_fact",
    "accepts_per_second": "core/test_gate.py::test_accepts_are_limited_for_one_netgroup_before_all",
    "accepts_burst": "hostile/test_floods.py::test_the_gates_other_bounds_hold_whoever_knocks",
    "netgroup_accepts_per_second": "hostile/test_floods.py::test_five_hundred_dials_from_one_netgroup_are_bounded_and_others_get_in",
    "netgroup_accepts_burst": "hostile/test_floods.py::test_five_hundred_dials_from_one_netgroup_are_bounded_and_others_get_in",
    "netgroups": "core/test_gate.py::test_a_table_of_buckets_forgets_the_one_used_least_recently_and_counts_it",
    "datagrams_per_second": "core/test_gate.py::test_datagrams_of_one_netgroup_are_limited_dropped_and_counted",
    "datagrams_burst": "core/test_gate.py::test_datagrams_of_one_netgroup_are_limited_dropped_and_counted",
    "netgroup_datagrams_per_second": "core/test_gate.py::test_datagrams_of_one_netgroup_are_limited_dropped_and_counted",
    "netgroup_datagrams_burst": "core/test_gate.py::test_datagrams_of_one_netgroup_are_limited_dropped_and_counted",
    "visits": "core/test_visits.py::test_visits_are_bounded_and_the_refused_are_counted",
    "handshakes": "core/test_session.py::test_who_connects_and_says_nothing_does_not_keep_others_out",
    "connect_timeout": "core/test_dialer.py::test_dials_at_once_are_bounded_and_end_by_their_time_limit",
    "handshake_timeout": "hostile/test_floods.py::test_handshakes_of_one_byte_a_second_end_at_the_deadline_and_cost_nobody_else",
    "close_timeout": "hostile/test_bounds.py::test_who_does_not_read_why_it_is_closed_is_hung_up_on",
    "idle_timeout": "hostile/test_floods.py::test_half_open_connections_end_and_leave_nothing",
    "dial_concurrency": "core/test_dialer.py::test_dials_at_once_are_bounded_and_end_by_their_time_limit",
    "dials_per_netgroup": "core/test_dialer.py::test_dials_to_one_netgroup_are_bounded_at_once",
    "retry_interval": "core/test_dialer.py::test_retry_and_draws_are_what_the_config_says",
    "manual_retry": "core/test_dialer.py::test_a_manual_peer_that_is_not_there_is_tried_ever_less_often_up_to_the_bound",
    "manual_retry_first": "core/test_dialer.py::test_a_manual_peer_that_is_not_there_is_tried_ever_less_often_up_to_the_bound",
    "draws": "core/test_dialer.py::test_retry_and_draws_are_what_the_config_says",
    "addresses_per_second": "core/test_dialer.py::test_addresses_that_one_session_tells_are_bounded_at_once_and_in_the_long_run",
    "addresses_burst": "core/test_dialer.py::test_addresses_that_one_session_tells_are_bounded_at_once_and_in_the_long_run",
    "discovery_timeout": "core/test_dialer.py::test_a_discovery_that_never_answers_is_given_up_and_tried_later",
    "discovery_addresses": "core/test_dialer.py::test_what_one_look_of_a_discovery_gives_is_bounded",
    "wanted_items": "core/test_scheduler.py::test_the_items_of_a_topic_are_bounded_whoever_announces_them",
    "validations": "core/test_items.py::test_validations_at_once_are_bounded_and_one_that_never_ends_is_given_up",
    "validation_timeout": "core/test_items.py::test_validations_at_once_are_bounded_and_one_that_never_ends_is_given_up",
    "waiting_items": "core/test_items.py::test_items_that_wait_are_bounded_and_judged_when_what_they_wait_for_is_there",
    "untold_items": "core/test_items.py::test_what_is_made_while_there_is_nobody_is_told_to_who_comes_within_bounds",
    "rejected_items": "core/test_items.py::test_rejected_ids_are_remembered_within_bounds",
    "spreads": "core/test_items.py::test_spreads_are_bounded",
    "spread_peers": "core/test_spreads.py::test_peers_of_an_item_are_bounded_and_those_left_out_counted",
    "spread_sessions": "core/test_spreads.py::test_a_session_that_has_ended_has_its_address_still_up_to_a_bound",
    "story_points": "core/test_story.py::test_the_score_of_a_long_session_is_seen_over_its_whole_life_within_the_bound",
    "story_facts": "core/test_story.py::test_facts_are_bounded_and_equal_ones_in_a_row_are_one",
    "story_sessions": "core/test_story.py::test_ended_sessions_are_bounded_and_strangers_wash_nobody_out",
    "source_share": "core/test_address_book.py::test_no_source_fills_the_book",
    "book_new_buckets": "core/test_address_book.py::test_a_full_book_is_small_and_bounded",
    "book_tried_buckets": "core/test_address_book.py::test_a_full_book_is_small_and_bounded",
}  # fmt: skip

BITCOIN = {
    "prune": "bitcoin/test_block_store.py::test_pruning_deletes_oldest_files_and_never_those_of_the_last_288_blocks",
    "headers": "bitcoin/test_header_index.py::test_the_number_of_headers_is_bounded_and_counted",
    "block_window": "bitcoin/test_block_sync.py::test_nothing_is_wanted_past_the_window",
    "block_timeout": "bitcoin/test_block_sync.py::test_the_only_one_who_has_a_block_is_given_all_the_time_of_a_request",
    "stall_timeout": "bitcoin/test_block_sync.py::test_who_holds_up_a_full_window_is_dropped_and_the_patience_doubles_and_returns",
    "headers_timeout": "bitcoin/test_header_sync.py::test_a_silent_peer_is_closed_and_followed_by_the_next",
    "headers_turn": "bitcoin/test_header_sync.py::test_a_turn_ends_only_for_the_sake_of_another_one",
    "behind_timeout": "bitcoin/test_conversation.py::test_a_dialled_peer_that_stays_behind_gives_its_slot_to_another",
    "unconnected": "hostile/test_bitcoin_rows.py::test_headers_that_never_connect_are_not_asked_about_for_ever",
    "pool_size": "bitcoin/test_pool.py::test_over_its_size_the_oldest_makes_room",
    "pool_expiry": "bitcoin/test_pool.py::test_expiry_and_a_lowered_size",
    "ping_timeout": "hostile/test_floods.py::test_half_open_connections_end_and_leave_nothing",
    "block_cache": "bitcoin/test_serving.py::test_peers_that_ask_for_one_block_share_it_within_the_cache",
    "addr_interval": "bitcoin/test_conversation.py::test_a_flood_of_addresses_is_dropped_undecoded",
    "getaddr_timeout": "bitcoin/test_exchange.py::test_who_never_answers_is_waited_for_no_longer_than_the_patience",
    "getdata_queue": "bitcoin/test_serving.py::test_the_queue_of_one_peer_is_bounded_and_says_so",
}  # fmt: skip

NODE = {
    "events": "core/test_events.py::test_a_flood_of_one_kind_does_not_wash_out_the_others",
    "stop_timeout": "core/test_start_stop.py::test_a_start_that_hangs_holds_the_stop_up_no_longer_than_the_limit",
    "work_queue": "hostile/test_bounds.py::test_jobs_that_wait_for_a_thread_are_bounded_and_the_refused_are_counted",
    "bans": "core/test_bans.py::test_a_full_list_drops_automatic_bans_and_never_the_operators",
    "discouraged": "core/test_bans.py::test_discouragements_are_bounded_the_oldest_goes_and_not_on_disk",
    "ban_time": "core/test_bans.py::test_bans_run_out_also_across_a_restart_and_leave_no_row",
    "watchdog": "core/test_start_stop.py::test_the_watchdog_follows_its_live_limit_and_is_quiet_when_switched_off",
    "log_size": "cli/test_logs.py::test_a_file_rotates_within_its_bounds_and_is_not_for_everyone",
    "log_files": "cli/test_logs.py::test_a_file_rotates_within_its_bounds_and_is_not_for_everyone",
    "log_rate": "core/test_log_lines.py::test_a_flood_of_one_kind_does_not_wash_out_the_others",
    "log_lines": "core/test_log_lines.py::test_the_oldest_lines_make_room_and_are_counted",
}  # fmt: skip

NO_BOUND = {
    Limits: {"tick", "dial_interval", "score_interval", "book_buckets"},
    BitcoinConfig: {
        "chain", "agent", "relay_transactions", "serve_unvalidated", "external", "block_file", "fee_filter", "ping_interval",
        "stale_tip", "address_cache", "own_address_interval",
    },
    NodeSettings: {"data_dir", "plugin_path", "work_threads", "discourage_loopback", "log_level", "log_file", "log_json"},
}  # fmt: skip

TABLES = {Limits: LIMITS, BitcoinConfig: BITCOIN, NodeSettings: NODE}
ROWS = [(model, field, test) for model, table in TABLES.items() for field, test in table.items()]


@pytest.mark.parametrize("model", TABLES)
def test_every_field_is_a_bound_with_a_test_or_none(model):
    declared = {name for name in model.model_fields if bound_of(model, name)}
    assert declared == set(TABLES[model]), "a bound is declared by `bound`, and has its test here"
    assert set(model.model_fields) - declared == NO_BOUND[model], "name new fields here, or declare them by `bound`"


@pytest.mark.parametrize(("model", "field", "test"), ROWS, ids=[f"{row[0].__name__}.{row[1]}" for row in ROWS])
def test_every_bound_has_a_counter_and_a_test(attack, model, field, test):
    file, _, name = test.partition("::")
    path = TESTS / file
    assert path.exists(), f"{model}.{field}: no {path}"
    functions = {
        node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)
    }
    assert name in functions, f"{model}.{field}: no {name} in {file}"
    counter = bound_of(model, field).counter
    if counter and counter not in LATE:
        assert f"p2pframe_{counter}_total" in _metrics(attack), f"{model}.{field}: nothing counts {counter}"


LATE = {"work_refused"}
"""Made when there is something to count."""
_seen: set[str] = set()


def _metrics(attack) -> set[str]:
    """The names of all metrics of a node with every built-in plugin that counts."""
    if not _seen:
        _seen.update(attack().node.metrics.snapshot())
    return _seen


# --- the bounds that no other file is about ---


def test_bytes_are_read_no_faster_than_the_budget(attack):
    victim = attack(extra="    limits: {bytes_per_second: 100kB, bytes_burst: 300kB}")
    honest, attacker = victim.friend(), victim.friend("203.0.113.9")
    session = victim.session("203.0.113.9")
    start, before = victim.net.clock.seconds(), session.counters.bytes_in
    for _ in range(40):
        attacker.say("nonsense", bytes(60_000)).wait(0.05)
    for _ in range(12):
        assert honest.ping()
    elapsed = victim.net.clock.seconds() - start
    read = session.counters.bytes_in - before - session.unread
    assert read <= 300_000 + 100_000 * (elapsed + 1)
    assert victim.count("over_budget") > 3 and not session.closing


def test_who_does_not_read_why_it_is_closed_is_hung_up_on(attack):
    victim = attack(extra="    limits: {close_timeout: 3s}")
    attacker = victim.friend("203.0.113.9").stop_reading()
    session = victim.session("203.0.113.9")
    session.write(bytes(900_000))
    victim.net.run(1.0)
    session.close("test")
    victim.net.run(2.0)
    assert session.state == "closing" and not attacker.lost
    victim.net.run(4.0)
    assert attacker.lost and not victim.network.sessions and victim.closed() == ["test"]
    assert victim.network.queued == 0


def test_jobs_that_wait_for_a_thread_are_bounded_and_the_refused_are_counted():
    import threading

    from twisted.internet import reactor
    from twisted.internet.defer import DeferredList

    from p2pframe.core.context import Context, ServiceWorld, WorkRefused
    from p2pframe.testing.context import FakeMetrics

    class Host:
        world = ServiceWorld(reactor)

    metrics = FakeMetrics()
    Host.world.start(1, 10)
    context = Context(Host(), "test", "", metrics)
    go = threading.Event()
    jobs = [context.work(go.wait, 10.0) for _ in range(25)]
    refused = []
    for job in jobs[10:]:
        job.addErrback(lambda failure: refused.append(failure.trap(WorkRefused)))
    assert len(refused) == 15 == metrics.value("work_refused_total")
    go.set()
    return DeferredList(jobs).addCallback(lambda _: Host.world.stop())
