"""`p2pframe admin password`: asks, hashes, writes a file for its owner alone, and says what to add to the YAML."""

from __future__ import annotations

import stat
import sys

import pytest
from argon2 import PasswordHasher
from click.testing import CliRunner

from p2pframe.cli import main
from p2pframe.config import load

PASSWORD = "correct horse battery staple"
CONFIG = """
version: 1
storage: {plugin: memory}
applications:
  - {plugin: admin, listen: "127.0.0.1:0"%s}
networks:
  main:
    protocol: {plugin: bitcoin, chain: regtest}
    transports: [{plugin: tcp, listen: ["127.0.0.1:0"]}]
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "node.yaml"
    path.write_text(CONFIG % "")
    return path


def run(config, *more, given=""):
    return CliRunner().invoke(main, ["admin", "password", "-c", str(config), *more], input=given)


def test_it_is_asked_for_twice_and_its_hash_written_for_the_owner_alone(config):
    done = run(config, given=f"{PASSWORD}\n{PASSWORD}\n")
    assert done.exit_code == 0, done.output
    file = config.with_name("admin.password")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    hash = file.read_text().strip()
    assert hash.startswith("$argon2id$")
    assert PasswordHasher().verify(hash, PASSWORD)
    assert PASSWORD not in done.output and hash not in done.output


def test_the_line_that_it_says_to_add_is_the_right_one(config):
    said = run(config, "--stdin", given=PASSWORD + "\n").output
    line = said.strip().splitlines()[-1].partition(": password_file: ")[2]
    config.write_text(CONFIG % f", password_file: {line}")
    assert load(config).applications[0].config.password_file == config.with_name("admin.password")


def test_the_file_that_the_configuration_names_is_written(config, tmp_path):
    config.write_text(CONFIG % ", password_file: keys/secret")
    refused = run(config, "--stdin", given=PASSWORD)
    assert refused.exit_code == 1 and "keys" in refused.output
    (tmp_path / "keys").mkdir()
    done = run(config, "--stdin", given=PASSWORD)
    assert done.exit_code == 0
    assert "password_file:" not in done.output
    assert (tmp_path / "keys" / "secret").exists()


@pytest.mark.parametrize(("given", "said"), [("short\n", "10 to 1000"), ("", "10 to 1000"), ("x" * 2000, "10 to 1000")])
def test_one_that_is_too_short_or_too_long_is_refused(config, given, said):
    done = run(config, "--stdin", given=given)
    assert done.exit_code == 1 and said in done.output
    assert not config.with_name("admin.password").exists()


def test_a_configuration_without_an_admin_and_a_missing_library_are_said(config, monkeypatch):
    monkeypatch.setitem(sys.modules, "argon2", None)
    assert "p2pframe[password]" in run(config, "--stdin", given=PASSWORD).output
    config.write_text(CONFIG.replace('  - {plugin: admin, listen: "127.0.0.1:0"%s}', "  []"))
    assert "add {plugin: admin}" in run(config, "--stdin", given=PASSWORD).output
