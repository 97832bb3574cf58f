"""The alert rules and the dashboard name metrics and labels that the code has."""

from __future__ import annotations

import ast
import json
import re
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "docs" / "monitoring"
NAME = re.compile(r"\bp2pframe_(\w+)")


@cache
def known() -> dict[str, set[str]]:
    """Each counter and gauge that the package makes, with its labels; a counter's name ends in _total."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "p2pframe").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
                continue
            if node.func.attr not in ("counter", "gauge") or not isinstance(node.args[0], ast.Constant):
                continue
            name = str(node.args[0].value).removesuffix("_total") + "_total" * (node.func.attr == "counter")
            labels = [part for argument in node.args[2:3] for part in ast.walk(argument)]
            found[name] = {part.value for part in labels if isinstance(part, ast.Constant)}
    return found


def expressions() -> list[object]:
    rules = yaml.safe_load((MONITORING / "alerts.yaml").read_text())
    found = [(rule["alert"], rule["expr"]) for group in rules["groups"] for rule in group["rules"]]
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    found += [(panel["title"], one["expr"]) for panel in dashboard["panels"] for one in panel["targets"]]
    return [pytest.param(expression, id=name) for name, expression in found]


@pytest.mark.parametrize("expression", expressions())
def test_each_metric_and_label_is_there(expression: str) -> None:
    metrics = known()
    labels = {"instance", "network", "job"}
    for name in NAME.findall(expression):
        assert name in metrics, name
        labels |= metrics[name]
    used = set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)\s*\"", expression))
    used |= {label for part in re.findall(r"\bby \(([^)]*)\)", expression) for label in re.split(r", *", part)}
    assert used <= labels
    for opening, closing in ("()", "{}", "[]"):
        assert expression.count(opening) == expression.count(closing)


def test_each_alert_says_how_bad_it_is_and_is_on_the_page() -> None:
    page = (ROOT / "docs" / "how-to" / "monitor.md").read_text()
    (group,) = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]
    assert {rule["alert"] for rule in group["rules"]} == set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE))
    for rule in group["rules"]:
        assert rule["labels"]["severity"] in ("warning", "critical") and rule["annotations"]["summary"]


def test_what_limits_turn_away_what_is_decided_and_traffic_have_a_panel() -> None:
    panels = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    shown = {name for panel in panels for one in panel["targets"] for name in NAME.findall(one["expr"])}
    for name in ("refusals_total", "turned_away_total", "over_budget_total", "facts_total", "verdicts_total", "alerts"):
        assert name in shown, name
    for name in ("messages_received", "message_bytes_received", "messages_sent"):
        assert f"{name}_total" in shown, name
    assert {"network_bytes_received_total", "network_bytes_sent_total"} <= shown


def test_each_alert_of_the_node_itself_is_on_the_page_with_whether_it_is_critical() -> None:
    page = (ROOT / "docs" / "how-to" / "monitor.md").read_text()
    section = page.split("## What the node finds odd itself")[1].split("\n## ")[0]
    told = {
        name: "critical" in more
        for name, more in re.findall(r"^\| ([a-z-]+)(, critical[^|]*)? \|", section, re.MULTILINE)
    }
    said: dict[str, bool] = {}
    for path in (ROOT / "p2pframe").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            named = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Alert"
            if named and node.args and isinstance(node.args[0], ast.Constant):
                critical = node.args[1]
                # One that is no constant is so in some cases.
                said[str(node.args[0].value)] = not isinstance(critical, ast.Constant) or bool(critical.value)
    assert len(said) > 10
    assert told == said


def test_no_panel_covers_another() -> None:
    panels = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24
