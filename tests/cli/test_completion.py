"""Tab completes commands, options and choices in the shells that are installed, set up as the how-to says."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from p2pframe.cli import main

HOW_TO = Path(__file__).parents[2] / "docs/how-to/use-the-admin.md"
BASH = """
COMP_WORDS=({words}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
_p2pframe_completion p2pframe
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
# Without a line to edit nothing is completed: what the completion hands on is printed instead.
ZSH_BEFORE = "compdef() { }\n"
ZSH = """
_describe() {{ print -rl -- $completions_with_descriptions }}
compadd() {{ print -rl -- $completions }}
words=({words}); CURRENT=$#words
_p2pframe_completion
"""
FISH = "\ncomplete --do-complete {line}\n"


@pytest.fixture(params=["bash", "zsh", "fish"])
def shell(request, tmp_path):
    """`shell(line)`: what there is to choose from where Tab is pressed after `line`."""
    name = request.param
    program = shutil.which(name)
    if program is None:
        missing = f"there is no {name}"
        if os.environ.get("CI"):
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)
    command = tmp_path / "bin" / "p2pframe"
    command.parent.mkdir()
    code = "from p2pframe.cli import main; main(prog_name='p2pframe')"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(code)} "$@"\n')
    command.chmod(0o700)
    path = f"{command.parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "HOME": str(tmp_path), "PYTHONPATH": ":".join(filter(None, sys.path))}
    set_up = rf"^\$ (eval .*_P2PFRAME_COMPLETE={name}_source p2pframe.*)$"
    given = re.search(set_up, HOW_TO.read_text(), re.MULTILINE)[1]

    def complete(line):
        words = " ".join(map(shlex.quote, line.split(" ")))
        script = {
            "bash": given + BASH.format(words=words),
            "zsh": ZSH_BEFORE + given + ZSH.format(words=words),
            "fish": given + FISH.format(line=shlex.quote(line)),
        }[name]
        plain = {"bash": ["--norc", "--noprofile"], "zsh": ["-f"], "fish": ["--no-config"]}[name]
        done = subprocess.run(
            [program, *plain, "-c", script], env=environment, capture_output=True, text=True, timeout=60
        )  # fmt: skip
        assert done.stderr == "", done.stderr
        return {re.split(r"[:\t]", one)[0] for one in done.stdout.split("\n") if one}

    return complete


def test_every_word_of_a_command_is_completed(shell):
    assert shell("p2pframe to") == {"top"}
    assert shell("p2pframe con") == {"config", "connect"}
    assert shell("p2pframe config ") == {"apply", "diff", "history", "rollback"}
    assert shell("p2pframe capture st") == {"start", "stop"}
    assert {"show", "list", "get", "delete"} <= shell("p2pframe capture ")
    assert shell("p2pframe config apply --ta") == {"--take-back"}
    assert shell("p2pframe top --sort ") == {"in", "out", "ping", "age", "score", "useful"}
    assert shell("p2pframe nothing") == set()


def commands_of_the_how_to():
    lines = re.findall(r"^\$ p2pframe (.*)$", HOW_TO.read_text(), re.MULTILINE)
    return [shlex.split(line) for line in lines]


@pytest.mark.parametrize("words", commands_of_the_how_to(), ids=" ".join)
def test_what_the_how_to_says_is_understood(words):
    command = main
    while isinstance(command, click.Group):
        name, *words = words
        command = command.commands[name]
    command.make_context(name, words)
