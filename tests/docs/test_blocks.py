"""Every block in the documents runs: YAML is checked as a node would, Python is executed, what is included is there."""

from __future__ import annotations

import ast
import os
import re
import shutil
from pathlib import Path

import pytest
import yaml

from p2pframe.config import load
from p2pframe.config.loader import NETWORK_KEYS
from p2pframe.interfaces import SEAMS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SIMULATE = ROOT / "docs" / "simulate"
"""Those pages are followed by test_simulate."""
BLOCK = re.compile(r"^( *)```([^\n]+)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
LANGUAGES = {"python", "yaml", "console", "text", "ini", "toml"}
WRITE = ROOT / "docs" / "how-to" / "write-plugins"


def blocks(page: Path) -> list[tuple[str, str, int]]:
    """Language, text and line of each block of a page."""
    text = page.read_text()
    return [
        (match[2].strip(), match[3].replace("\n" + match[1], "\n"), text[: match.start()].count("\n") + 1)
        for match in BLOCK.finditer(text)
    ]


def of(language: str) -> list[object]:
    """The blocks of a language as parameters named by page and line."""
    return [
        pytest.param(text, id=f"{page.relative_to(ROOT)}:{line}")
        for page in PAGES
        for found, text, line in blocks(page)
        if found == language and SIMULATE not in page.parents
    ]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the examples in it, as a reader has it."""
    shutil.copytree(ROOT / "plugins", tmp_path / "plugins", ignore=shutil.ignore_patterns("__pycache__"))
    for path in tmp_path.rglob("*"):
        os.chmod(path, 0o755 if path.is_dir() else 0o644)
    (tmp_path / "my-node" / "plugins").mkdir(parents=True, mode=0o755)
    shutil.copy(ROOT / "plugins" / "lazy_flood.py", tmp_path / "my-node" / "plugins")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_block_says_what_it_is(page: Path) -> None:
    for language, _, line in blocks(page):
        assert language in LANGUAGES or re.match(r"\{[\w-]+\}", language), f"line {line}: {language}"


@pytest.mark.parametrize("text", of("yaml"))
def test_each_configuration_checks(text: str, checkout: Path) -> None:
    """Whole ones all of them: a reader copies a block, not a part of one."""
    assert text.startswith("version: 1\n")
    for folder in (checkout, checkout / "my-node"):
        (folder / "node.yaml").write_text(text)
    tutorial = "lazy-flood" in text and "data_dir" in text
    load((checkout / "my-node" if tutorial else checkout) / "node.yaml")


@pytest.mark.parametrize(
    "page",
    [p for p in PAGES if SIMULATE not in p.parents and "python" in {b[0] for b in blocks(p)}],
    ids=lambda page: page.stem,
)
def test_the_python_of_each_page_runs_from_top_to_bottom(page: Path, checkout: Path) -> None:
    space: dict[str, object] = {"__name__": f"page_{page.stem.replace('-', '_')}"}
    for language, text, line in blocks(page):
        if language == "python":
            exec(compile("\n" * line + text, str(page), "exec"), space)


@pytest.mark.parametrize("text", [case for case in of("python") if "\ndef test_" in case.values[0]])
def test_the_tests_of_each_page_pass(text: str, pytester: pytest.Pytester, checkout: Path) -> None:
    (checkout / "test_page.py").write_text(text)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", str(checkout / "test_page.py"))
    result.assert_outcomes(passed=text.count("\ndef test_"))


def docstring_examples() -> list[object]:
    """The YAML that an example's own docstring shows."""
    found = []
    for path in sorted((ROOT / "plugins").glob("*.py")):
        doc = ast.get_docstring(ast.parse(path.read_text())) or ""
        for match in re.finditer(r"(?:^ {4}.*\n)+", doc + "\n", re.MULTILINE):
            text = re.sub("^ {4}", "", match[0], flags=re.MULTILINE)
            if re.match(r"(networks|applications|storage|scoring):", text):
                found.append(pytest.param(text, id=path.name))
    return found


@pytest.mark.parametrize("text", docstring_examples())
def test_the_yaml_of_each_examples_docstring_checks(text: str, checkout: Path) -> None:
    parts = yaml.safe_load(text)
    if set(parts) <= set(NETWORK_KEYS):
        parts = {"networks": {"chat": parts}}
    for network in parts.setdefault("networks", {"bitcoin": {}}).values():
        network.setdefault(
            "protocol", {"plugin": "beacon", "name": "x"} if "udp" in str(network) else {"plugin": "lines"}
        )
        network.setdefault("transports", [{"plugin": "tcp"}])
    whole = {"version": 1, "node": {"plugin_path": ["./plugins"]}, **parts}
    (checkout / "node.yaml").write_text(yaml.safe_dump(whole))
    load(checkout / "node.yaml")


def test_most_examples_show_how_they_are_named_in_the_yaml() -> None:
    shown = {case.id for case in docstring_examples()}
    files = {path.name for path in (ROOT / "plugins").glob("*.py")}
    # Those of the tutorial and of the pages of protocols and topologies are shown there.
    assert files - shown <= {"lazy_flood.py", "lines.py", "near_topology.py"}


def test_every_seam_and_every_example_has_its_page() -> None:
    text = (WRITE / "index.md").read_text()
    pages = set(re.findall(r"\]\(([\w-]+\.md)\)", text))
    assert pages == {page.name for page in WRITE.glob("*.md")} - {"index.md"}
    assert {re.split(r" *\| *", line)[1] for line in text.splitlines() if ".md) |" in line} == set(SEAMS)
    included = {
        Path(language.split()[-1]).name
        for page in WRITE.glob("*.md")
        for language, _, _ in blocks(page)
        if language.startswith("{literalinclude}")
    }
    named = {name for page in WRITE.glob("*.md") for name in re.findall(r"`plugins/(\w+\.py)`", page.read_text())}
    assert included | named == {path.name for path in (ROOT / "plugins").glob("*.py")}


@pytest.mark.parametrize("page", sorted(WRITE.glob("*.md")), ids=lambda page: page.stem)
def test_what_a_page_takes_from_a_file_begins_and_ends_where_it_says(page: Path) -> None:
    for language, options, line in blocks(page):
        if not language.startswith("{literalinclude}"):
            continue
        source = (page.parent / language.split()[-1]).resolve().read_text()
        for _, marker in re.findall(r":(start-at|end-before): '(.*)'", options):
            assert source.count(marker) == 1, (
                f"line {line}: {marker!r} is {source.count(marker)} times in {language.split()[-1]}"
            )


def test_every_option_limit_and_metric_that_the_pages_name_is_there() -> None:
    from p2pframe.config.settings import Limits, NodeSettings

    known = {"limits": set(Limits.model_fields), "node": set(NodeSettings.model_fields)}
    for page in PAGES:
        for part, name in re.findall(r"`(limits|node)\.([a-z_]+)`", page.read_text()):
            if f"{part}.{name}" not in ("node.yaml", "node.log"):
                assert name in known[part], f"{page.relative_to(ROOT)}: {part}.{name}"


def test_every_reason_that_the_page_on_dropped_peers_explains_is_one_that_the_code_gives() -> None:
    page = (ROOT / "docs" / "how-to" / "debug-a-dropped-peer.md").read_text()
    section = page.split("## What the reasons mean")[1].split("\n## ")[0]
    cells = [line.split("|") for line in section.splitlines() if line.startswith("| `")]
    words = {word for row in cells for cell in row[1:3] for word in re.findall(r"`([a-z.-]+)`", cell)}
    assert len(words) > 30
    source = "\n".join(path.read_text() for path in (ROOT / "p2pframe").rglob("*.py"))
    assert sorted(word for word in words if f'"{word}"' not in source) == []


def test_the_places_that_the_page_on_backups_names_are_where_the_code_puts_things() -> None:
    from p2pframe.keyspace import folder_name
    from p2pframe.storage.sqlite import engine

    page = (ROOT / "docs" / "how-to" / "back-up-and-restore.md").read_text()
    assert folder_name("") == "_node" and "`_node`" in page
    for name in ("kept", "rebuildable"):
        assert f"storage.sqlite/{name}`" in page and f'"{name}", folder / "{name}"' in Path(engine.__file__).read_text()


def test_the_architecture_names_every_part_of_core_and_of_the_simulator_and_every_plugin() -> None:
    from p2pframe.registry import Registry

    page = (ROOT / "docs" / "architecture.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    core = {path.stem for path in (ROOT / "p2pframe" / "core").glob("*.py")} - {"__init__"}
    table = page.split("| File | What it is |")[1].split("\n\n")[0]
    named = {
        name
        for line in table.splitlines()
        for name in re.findall(r"`(\w+)`", line.split("|")[1] if "|" in line else "")
    }
    # The address book's and the scheduler's own records, and the stack's look at itself, go without a line.
    assert core - named <= {"address_entry", "address_rows", "address_sources", "address_table", "wanted"}
    assert named <= core
    sim = ROOT / "p2pframe" / "sim"
    files = {path.stem for path in sim.glob("*.py")} | {
        path.name for path in sim.iterdir() if (path / "__init__.py").exists()
    }
    table = page.split("| File of `sim/` | What it is |")[1].split("\n\n")[0]
    named = {name for line in table.splitlines() for name in re.findall(r"`(\w+)`", (line.split("|") + ["", ""])[1])}
    assert named == files - {"__init__"}
    for kind in SEAMS:
        (row,) = [row for row in rows if row.startswith(f"| {kind} |")]
        built_in, examples = (set(re.split(r", ", cell.strip())) for cell in row.split("|")[3:5])
        local = {known.name for known in Registry([ROOT / "plugins"], installed=[]).known(kind)}
        assert examples - {""} == local, kind
        assert built_in - {"", "the protocol's own"} == {
            known.name for known in Registry().known(kind) if "p2pframe" in known.origin
        }, kind
