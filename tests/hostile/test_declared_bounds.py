"""Every bound that any built-in plugin or example declares: its counter and reasons are there, and it has a test.

Core's and those of DHT, discovery and crawl have tables of their own (`test_bounds.py`, `test_plugin_bounds.py`).
"""

# ruff: noqa: E501 - a row of the tables is a line

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from p2pframe.admin.config import AdminConfig
from p2pframe.authentication.allow_list import AllowListConfig
from p2pframe.authentication.certificate import CertificateConfig
from p2pframe.authentication.version import VersionConfig
from p2pframe.config.settings import Limits, NodeSettings
from p2pframe.plugin import bound_of
from p2pframe.registry import Registry
from p2pframe.registry.registry import spec_of
from p2pframe.relay.flood import FloodConfig
from p2pframe.relay.inventory import InventoryConfig
from p2pframe.scoring.behaviour import BehaviourConfig
from p2pframe.topology.random import RandomConfig
from tests.hostile import test_bounds, test_plugin_bounds

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
ACCESS, CAPTURES, REQUESTS = "admin/test_access.py::", "admin/test_captures.py::", "admin/test_requests.py::"
INSPECTOR = "admin/test_inspector.py::"
INVENTORY, FLOOD, RANDOM = "relay/test_inventory.py::", "relay/test_flood.py::", "topology/test_random.py::"

TABLES = {
    AdminConfig: {
        "sessions": ACCESS + "test_sessions_are_bounded_and_the_longest_idle_makes_room",
        "idle": ACCESS + "test_a_session_ends_after_idle_and_after_its_life",
        "life": ACCESS + "test_a_session_ends_after_idle_and_after_its_life",
        "tries": ACCESS + "test_one_source_may_try_so_often_and_others_go_on",
        "pause": ACCESS + "test_one_source_may_try_so_often_and_others_go_on",
        "captures": CAPTURES + "test_what_is_refused",
        "capture_largest": CAPTURES + "test_it_ends_by_its_time_its_size_its_session_and_with_the_node",
        "capture_quota": CAPTURES + "test_what_is_refused",
        "capture_files": CAPTURES + "test_there_are_so_many_files_and_deleting_makes_room",
        "password_checks": "admin/test_password.py::test_so_many_are_hashed_at_once_and_who_goes_away_frees_nothing",
        "capture_parts": CAPTURES + "test_a_full_file_goes_on_in_a_next_one_and_the_oldest_make_room",
        "inspections": INSPECTOR + "test_so_many_sessions_at_once_and_ended_ones_make_room",
        "inspected_messages": INSPECTOR + "test_so_many_messages_are_kept_and_those_that_went_are_counted",
        "inspected_bytes": INSPECTOR + "test_so_many_bytes_are_kept_what_they_mean_included",
        "inspection_idle": INSPECTOR + "test_it_ends_when_nobody_looked_for_a_while_and_goes_on_while_somebody_does",
        "streams": "admin/test_streams.py::test_there_are_so_many_and_one_that_ends_makes_room",
        "requests_per_second": "admin/test_rates.py::test_who_asks_too_often_is_told_when_to_come_again",
        "request_burst": "admin/test_rates.py::test_who_asks_too_often_is_told_when_to_come_again",
        "refresh_share": "admin/test_rendering.py::test_pages_that_refresh_themselves_take_their_share_and_no_more",
        "connections": REQUESTS + "test_connections_are_bounded",
        "largest_body": REQUESTS + "test_bodies_are_bounded_by_what_is_said_and_by_what_comes",
        "request_timeout": REQUESTS + "test_a_request_that_drips_is_cut_off",
        "idle_timeout": REQUESTS + "test_connections_that_say_nothing_end",
    },
    VersionConfig: {
        "minimum": "authentication/test_version.py::test_old_versions_stay_out",
        "services": "authentication/test_version.py::test_services_are_asked_of_those_we_dialled",
        "inbound_services": "authentication/test_version.py::test_inbound_ones_may_be_asked_for_services_of_their_own",
    },
    AllowListConfig: dict.fromkeys(
        ("addresses", "networks", "peer_ids"), "authentication/test_allow_list.py::test_any_one_entry_lets_in"
    ),
    CertificateConfig: dict.fromkeys(
        ("pins", "subject", "issuer", "names"), "authentication/test_certificate.py::test_all_that_is_asked_for_must_hold"
    ),
    InventoryConfig: {
        "rate": INVENTORY + "test_on_average_fourteen_a_second_and_never_more_than_one_announcement_may_hold",
        "per_announcement": INVENTORY + "test_on_average_fourteen_a_second_and_never_more_than_one_announcement_may_hold",
        "queue": INVENTORY + "test_a_link_that_does_not_read_is_held_back_and_its_queue_keeps_the_most_valuable",
        "known": INVENTORY + "test_the_latest_ids_of_a_link_are_remembered_and_the_filter_stays_small",
        "recent": INVENTORY + "test_only_who_was_told_is_served_until_it_is_old_news",
    },
    FloodConfig: {
        "known": FLOOD + "test_what_is_remembered_of_a_link_is_bounded",
        "queue": FLOOD + "test_a_link_that_does_not_read_is_told_later_within_bounds_and_what_is_gone_never",
    },
    RandomConfig: {
        "inbound": "core/test_bounds.py::test_slots_are_used_by_sessions_and_who_finds_them_full_is_told_which",
        "outbound": RANDOM + "test_free_slots_are_wanted_in_netgroups_that_none_has",
        "block_relay": RANDOM + "test_an_extra_block_relay_peer_now_and_then_and_only_when_full",
        "feeler": RANDOM + "test_feelers_test_new_addresses_about_every_two_minutes",
    },
    BehaviourConfig: {
        **dict.fromkeys(
            ("disconnect", "discourage", "ban"), "scoring/test_behaviour.py::test_thresholds_for_disconnect_discourage_and_ban"
        ),
        "sessions": "scoring/test_behaviour.py::test_the_table_of_sessions_is_bounded",
    },
}  # fmt: skip
ALL = {**test_bounds.TABLES, **test_plugin_bounds.TABLES, **TABLES}


def bounds(model):
    return {name: said for name in model.model_fields if (said := bound_of(model, name))}


@cache
def models():
    """Of the node, its networks, every built-in plugin and every example."""
    registry = Registry([ROOT / "plugins"])
    found = {spec_of(registry.load(known)).config for known in registry.known(None)}
    return sorted(found | {Limits, NodeSettings}, key=lambda model: model.__name__)


@cache
def texts():
    """All strings of the source but those of the declarations themselves."""
    found = set()
    waiting = [
        ast.parse(file.read_text()) for folder in ("p2pframe", "plugins") for file in sorted((ROOT / folder).rglob("*.py"))
    ]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
        if not (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "bound"):
            waiting += ast.iter_child_nodes(node)
    return found


def named(key):
    """Some models are found twice, by their package and by their file: what counts is their name."""
    return {model.__name__: table for model, table in ALL.items()}.get(key.__name__, {})


def test_every_bound_of_every_model_is_in_a_table_with_its_test():
    missing = {
        f"{model.__name__}.{name}" for model in models() for name in bounds(model) if name not in named(model)
    }
    assert not missing, "name the test of each in the table of its model"
    for model, table in TABLES.items():
        assert set(table) <= set(bounds(model)), f"{model.__name__}: declare by `bound` what has a test of a bound here"


ROWS = [(model, name, test) for model, table in TABLES.items() for name, test in table.items()]


@pytest.mark.parametrize(("model", "name", "test"), ROWS, ids=[f"{row[0].__name__}.{row[1]}" for row in ROWS])
def test_its_test_is_there(model, name, test):
    file, _, function = test.partition("::")
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = {node.name for node in ast.walk(ast.parse((TESTS / file).read_text())) if isinstance(node, kinds)}
    assert function in found, f"{model.__name__}.{name}: no {function} in {file}"


DECLARED = [(model, name, said) for model in models() for name, said in bounds(model).items()]


@pytest.mark.parametrize(("model", "name", "said"), DECLARED, ids=[f"{row[0].__name__}.{row[1]}" for row in DECLARED])
def test_what_it_declares_is_there(model, name, said):
    if said.counter:
        made = {said.counter, f"{said.counter}_total"}
        assert made & texts(), f"{model.__name__}.{name}: nothing makes the counter {said.counter}"
    for word in (*said.label, *said.refuses):
        assert word in texts() or word in OF_CODE, f"{model.__name__}.{name}: nothing says {word!r}"


OF_CODE = {"413", "discourage", "table: bucket full", "table: cache full", "wrong-subject", "wrong-issuer"}
"""Put together of other words where they are said: the tests of these bounds see them."""
