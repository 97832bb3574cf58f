"""Prometheus's own promtool looks at the alert rules, and at what a node says when it is scraped."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

RULES = Path(__file__).parents[2] / "docs" / "monitoring" / "alerts.yaml"
PROMTOOL = shutil.which("promtool") or ""
pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(not PROMTOOL, reason="needs promtool (Debian and Ubuntu: apt-get install prometheus)"),
]

NODE = """
version: 1
node: {data_dir: ./data}
applications: [{plugin: admin, listen: "127.0.0.1:8600"}]
networks:
  bitcoin:
    protocol: {plugin: bitcoin, chain: regtest}
    transports: [{plugin: tcp, listen: ["203.0.113.1:18444"]}]
  dht:
    protocol: {plugin: mainline}
    transports: [{plugin: udp, listen: "203.0.113.1:6881"}]
"""


def test_it_takes_the_rules() -> None:
    checked = subprocess.run(
        [PROMTOOL, "check", "rules", str(RULES)], capture_output=True, text=True, timeout=60, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    assert f"{len(group['rules'])} rules found" in checked.stdout


def test_it_finds_no_fault_in_what_a_node_counts(simulation) -> None:
    node = simulation.start(NODE, "203.0.113.1").node
    simulation.run(200)
    exposition = node.view.exposition()
    assert b'p2pframe_alerts{alert="dht-alone"' in exposition
    checked = subprocess.run(
        [PROMTOOL, "check", "metrics"], input=exposition, capture_output=True, timeout=60, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


@pytest.mark.parametrize(
    ("rule", "series", "labels", "summary"),
    [
        ("P2PFrameDiskNearlyFull", {"storage_free_bytes": 50e9, "storage_floor_bytes": 2e8}, None, ""),
        (
            "P2PFrameDiskNearlyFull", {"storage_free_bytes": 9e8, "storage_floor_bytes": 2e8},
            {"severity": "critical", "job": "p2pframe"}, "858.3MiB are left on the disk of n",
        ),
        ("P2PFrameCritical", {'alerts{alert="dht-alone",of="dht",severity="critical"}': 0}, None, ""),
        ("P2PFrameCritical", {'alerts{alert="partition",of="bitcoin",severity="warning"}': 1}, None, ""),
        (
            "P2PFrameCritical", {'alerts{alert="dht-alone",of="dht",severity="critical"}': 1},
            {"severity": "critical", "alert": "dht-alone", "of": "dht"}, "n dht is not well: dht-alone",
        ),
        (
            "P2PFrameSuspicion", {'alerts{alert="partition",of="bitcoin",severity="warning"}': 1},
            {"severity": "warning", "alert": "partition", "of": "bitcoin"}, "n bitcoin has the alert partition",
        ),
    ],
)  # fmt: skip
def test_a_rule_fires_when_it_should(
    rule: str, series: dict[str, float], labels: dict[str, str] | None, summary: str, tmp_path: Path
) -> None:
    """As Prometheus evaluates it: where two metrics are compared they have to have the same labels."""
    expected = []
    if labels is not None:
        expected = [{"exp_labels": {"instance": "n", **labels}, "exp_annotations": {"summary": summary}}]
    scraped = [
        {"series": f"p2pframe_{_labelled(name)}", "values": f"{value:.0f}+0x30"} for name, value in series.items()
    ]
    test = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [{
            "interval": "1m", "input_series": scraped,
            "alert_rule_test": [{"eval_time": "20m", "alertname": rule, "exp_alerts": expected}],
        }],
    }  # fmt: skip
    path = tmp_path / "test.yaml"
    path.write_text(yaml.safe_dump(test))
    checked = subprocess.run(
        [PROMTOOL, "test", "rules", str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def _labelled(name: str) -> str:
    """With the labels that Prometheus and core add."""
    name, _, more = name.partition("{")
    return f'{name}{{instance="n",job="p2pframe",network="",{more or "}"}'
