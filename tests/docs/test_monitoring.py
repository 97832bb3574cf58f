"""The alert rules and the dashboard name metrics and labels that the code has."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "docs" / "monitoring"
NAME = re.compile(r"\bp2pframe_(\w+)")


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
