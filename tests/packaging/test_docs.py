"""What the documents show is so: configurations check, commands exist, links lead somewhere.

The tutorial is run as it stands by tests of its own.
"""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^( *)```([\w{}-]+)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+?\.md)?(?:#[^)]*)?\)")


def blocks(language: str) -> list[object]:
    """Each code block of that language, named by its page and line."""
    found = []
    for page in PAGES:
        text = "" if language == "yaml" and "tutorial" in page.parts else page.read_text()
        for match in BLOCK.finditer(text):
            if match[2] == language:
                line = text[: match.start()].count("\n") + 1
                name = f"{page.relative_to(ROOT)}:{line}"
                found.append(pytest.param(match[3].replace("\n" + match[1], "\n"), id=name))
    return found


@pytest.mark.parametrize("text", blocks("yaml"))
def test_a_whole_configuration_in_the_documents_checks(text: str, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from p2pframe.cli import main

    if not text.startswith("version:"):
        pytest.skip("a part of a configuration")
    if re.search(r"^hosts:", text, re.MULTILINE):
        pytest.skip("a scenario: tests/docs/test_simulate.py runs it")
    (tmp_path / "node.yaml").write_text(text)
    shutil.copytree(ROOT / "plugins", tmp_path / "plugins", ignore=shutil.ignore_patterns("__pycache__"))
    result = CliRunner().invoke(main, ["check", str(tmp_path / "node.yaml")])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("text", blocks("console"))
def test_the_commands_in_the_documents_exist(text: str) -> None:
    from p2pframe.cli import main
    from p2pframe.tap import Options

    for line in text.splitlines():
        if not line.strip().startswith("$ "):
            continue
        words = shlex.split(line.strip()[2:], comments=True)
        names = [Path(word).name for word in words]
        if "p2pframe" in names[:-1]:
            assert words[names.index("p2pframe") + 1] in main.commands, line
        if "twistd" in names and "p2pnode" in names:
            Options().parseOptions(words[names.index("p2pnode") + 1 :])
        if words[0].startswith("./"):
            assert (ROOT / words[0]).exists(), line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        if target:
            assert (page.parent / target).exists(), target


def test_the_files_that_the_documents_name_are_there() -> None:
    named = {name for page in PAGES for name in re.findall(r"`(examples/[\w./-]+)`", page.read_text())}
    assert named >= {"examples/p2pnode.service", "examples/Containerfile", "examples/regtest.yaml"}
    assert not [name for name in sorted(named) if not (ROOT / name).exists()]


def test_every_plugin_option_has_a_description() -> None:
    """The reference can be made: it refuses an option without one."""
    import configparser
    import importlib

    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    for line in parser["options.entry_points"]["p2pframe.plugins"].strip().splitlines():
        module, _, name = line.split(" = ")[1].partition(":")
        config = getattr(importlib.import_module(module), name).__p2pframe_plugin__.config
        for option, field in config.model_fields.items():
            assert field.description, f"{module}: {config.__name__}.{option}"
