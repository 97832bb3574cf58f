"""The command `p2pframe`: what it prints, and its exit status."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from p2pframe.cli import KINDS, main
from p2pframe.interfaces import SEAMS

ROOT = Path(__file__).parents[2]
CONFIG = """\
version: 1
node: {plugin_path: [plugins]}
storage: {plugin: quiet-storage}
networks:
  main:
    protocol: {plugin: quiet}
    transports: [{plugin: quiet-tcp}]
applications: [{plugin: chatty, secret: "${SECRET}"}]
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRET", "hunter2")
    (tmp_path / "plugins").mkdir(mode=0o755)
    shutil.copy(Path(__file__).parent / "quiet_node.py", tmp_path / "plugins" / "quiet_node.py")
    (tmp_path / "plugins" / "quiet_node.py").chmod(0o644)
    (tmp_path / "node.yaml").write_text(CONFIG)
    return lambda *arguments: CliRunner().invoke(main, list(arguments), catch_exceptions=False)


def test_the_kinds_are_those_of_the_interfaces():
    assert tuple(SEAMS) == KINDS


def test_check_says_good(run):
    result = run("check", "node.yaml")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "node.yaml: good: main\n", "")


def test_check_prints_what_is_in_force_without_secrets(run):
    shown = yaml.safe_load(run("check", "--effective", "node.yaml").stdout)
    assert shown["applications"] == [{"plugin": "chatty", "every": 3600.0, "lines": 0, "secret": "***"}]
    data = json.loads(run("check", "--json", "node.yaml").stdout)
    assert data == {"ok": True, "problems": [], "effective": shown}


def test_check_reports_every_mistake_with_status_1(run, tmp_path):
    (tmp_path / "node.yaml").write_text(CONFIG.replace("quiet}", "quite}").replace("version: 1", "version: 3"))
    result = run("check", "node.yaml")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "node.yaml:1:10: version: must be 1, found 3",
        "node.yaml:6:24: networks.main.protocol.plugin: no protocol plugin 'quite' (did you mean 'quiet'?)",
        "2 mistakes",
    ]
    result = run("check", "--json", "node.yaml")
    assert result.exit_code == 1
    data = json.loads(result.stdout)
    assert data["ok"] is False
    assert data["problems"][0] == {
        "file": "node.yaml", "line": 1, "column": 10, "path": "version", "message": "must be 1, found 3",
    }  # fmt: skip


def test_a_missing_file_is_an_error_not_a_traceback(run):
    result = run("check", "none.yaml")
    assert result.exit_code == 1
    assert result.stderr.startswith("none.yaml:1:1: can't read none.yaml: No such file or directory")


def test_plugins_lists_name_summary_origin_and_options(run):
    result = run("plugins", "application", "-c", "node.yaml")
    assert result.exit_code == 0, result.output
    assert "  chatty: Logs.\n" in result.stdout
    assert "quiet_node.py:" in result.stdout
    assert "      - every (default 3600.0, live): How often to log.\n" in result.stdout
    found = json.loads(run("plugins", "application", "-c", "node.yaml", "--json").stdout)
    [chatty] = [plugin for plugin in found if plugin["name"] == "chatty"]
    assert chatty["kind"] == "application"
    assert [option["name"] for option in chatty["options"]] == ["every", "lines", "secret"]
    assert chatty["options"][0]["live"] is True
    assert chatty["options"][1]["schema"]["type"] == "integer"


def test_a_kind_that_is_none_is_a_usage_error(run):
    result = run("plugins", "relays")
    assert result.exit_code == 2
    assert "'relay'" in result.stderr


def test_schema_has_the_local_plugins(run):
    result = run("schema", "-c", "node.yaml")
    whole = json.loads(result.stdout)
    assert "application.chatty" in whole["$defs"]
    assert whole["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_schema_of_scenarios_has_the_local_plugins_too(run):
    result = run("schema", "--scenario", "-c", "node.yaml")
    whole = json.loads(result.stdout)
    assert result.exit_code == 0, result.output
    assert {"hosts", "timeline", "measures", "variants"} <= whole["properties"].keys()
    assert "application.chatty" in whole["$defs"]


def test_init_lists_prints_writes_and_never_overwrites(run, tmp_path):
    listing = run("init").stdout
    templates = {path.stem for path in (ROOT / "p2pframe/cli/templates").glob("*.yaml")}
    assert templates == {line.split()[0] for line in listing.splitlines()}
    text = run("init", "regtest").stdout
    assert text.startswith("# ")
    assert run("init", "regtest", "new.yaml").exit_code == 0
    assert (tmp_path / "new.yaml").read_text() == text
    (tmp_path / "new.yaml").write_text("mine")
    result = run("init", "regtest", "new.yaml")
    assert (result.exit_code, result.stderr) == (1, "new.yaml exists already: it is not overwritten\n")
    assert (tmp_path / "new.yaml").read_text() == "mine"
    assert run("init", "regtest", "no/such/folder.yaml").exit_code == 1
    result = run("init", "nonsense")
    assert result.exit_code == 2
    assert "there is bitcoin" in result.stderr


def test_usage_errors_have_status_2(run):
    assert run("check").exit_code == 2
    assert run("nonsense").exit_code == 2
    assert run("--nonsense").exit_code == 2


def test_help_imports_nothing_heavy():
    code = (
        "import sys, p2pframe.cli; print(sorted(m for m in sys.modules if m.split('.')[0] in ('pydantic', 'twisted', "
        "'yaml')))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("arguments", [["--help"], ["check", "--help"], ["--version"]])
def test_it_runs_as_a_module(arguments):
    result = subprocess.run(
        [sys.executable, "-m", "p2pframe.cli", *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert "Traceback" not in result.stderr
    assert result.returncode == 0 or "not installed" in result.stderr
