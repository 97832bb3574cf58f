"""What comes from the environment or an include is `***` wherever a person could read it."""

from __future__ import annotations

import json

import pytest

from p2pframe.config import diff

from .conftest import GOOD

SECRET = "correct-horse"


def everything(spec):
    """All that a person could see of a configuration."""
    return repr(spec) + str(spec) + json.dumps(spec.effective)


def test_a_value_of_the_environment_is_used_and_hidden(folder):
    text = GOOD + '    upgrades: [{plugin: pre-shared, key: "${KEY}"}]\n'
    spec = folder.load(text, {"KEY": SECRET})
    assert spec.networks["main"].upgrades[0].config.key == SECRET
    assert spec.effective["networks"]["main"]["upgrades"] == [{"plugin": "pre-shared", "key": "***"}]
    assert SECRET not in everything(spec)


def test_a_value_of_an_include_is_used_and_hidden(folder):
    text = GOOD + "    upgrades: [{plugin: pre-shared, key: !include key.yaml}]\n"
    spec = folder.load(text, key=SECRET + "\n")
    assert spec.networks["main"].upgrades[0].config.key == SECRET
    assert SECRET not in everything(spec)


def test_a_part_of_a_value_hides_all_of_it(folder):
    spec = folder.load(GOOD + '    upgrades: [{plugin: pre-shared, key: "abc-${KEY}"}]\n', {"KEY": SECRET})
    assert spec.effective["networks"]["main"]["upgrades"][0]["key"] == "***"


def test_an_included_part_is_hidden_in_every_value_whatever_the_model_makes_of_it(folder):
    text = GOOD + "    discovery: !include discovery.yaml\n    limits: !include limits.yaml\n"
    spec = folder.load(text, discovery="- {plugin: static, peers: ['192.0.2.7:18']}", limits="{tick: 0.777}")
    main = spec.effective["networks"]["main"]
    assert main["discovery"] == [{"plugin": "***", "peers": ["***"], "interval": 30.0}]
    assert main["limits"]["tick"] == "***"
    assert main["limits"]["draws"] == 100
    assert "192.0.2.7" not in everything(spec)
    assert "0.777" not in everything(spec)


def test_digits_from_the_environment_are_text_where_text_is_wanted(folder):
    spec = folder.load(GOOD + "    upgrades:\n      - plugin: pre-shared\n        key: ${KEY}\n", {"KEY": "012345"})
    assert spec.networks["main"].upgrades[0].config.key == "012345"


def test_digits_from_the_environment_are_a_number_where_one_is_wanted(folder):
    spec = folder.load(GOOD + "    limits:\n      draws: ${DRAWS}\n", {"DRAWS": "77"})
    assert spec.networks["main"].limits.draws == 77


@pytest.mark.parametrize(
    "lines",
    [
        'upgrades: [{plugin: pre-shared, key: 1, x: "${S}"}]',
        'discovery: [{plugin: static, peers: ["${S}"]}]',
        'discovery: [{plugin: static, interval: "${S}"}]',
        'discovery: [{plugin: static, peers: "${S}"}]',
        'discovery: [{plugin: "${S}"}]',
        'discovery: [{plugin: static, network: "${S}"}]',
        'discovery: [{plugin: seeds, seeds: [{host: "${S}"}, {host: "${S}"}]}]',
        'discovery: "${S}"',
        'relay: "${S}"',
        'limits: "${S}"',
        'limits: {draws: "${S}", tick: "${S}"}',
        'authentication: [{plugin: version, services: ["${S}"]}]',
        'relay: !include secret.yaml',
        'limits: !include secret.yaml',
        'limits: {draws: !include secret.yaml}',
    ],
)  # fmt: skip
def test_no_error_shows_a_secret(folder, lines):
    for secret in ("Hunter2", "hunter2:77777", "-77777"):
        folder.write(secret + "\n", "secret.yaml")
        text = GOOD + "".join(f"    {line}\n" for line in lines.splitlines())
        found = folder.problems(text, {"S": secret})
        assert found
        for piece in ("unter2", "77777"):
            assert piece not in "\n".join(found)


def test_a_validators_own_words_are_shown_where_they_do_not_quote_the_value(folder):
    [problem] = folder.problems(GOOD + '    limits: {tick: "${S}"}\n', {"S": "hunter2"})
    assert problem.endswith("such as 30s (found ***)")


def test_a_difference_shows_no_secret(folder):
    text = GOOD + '    upgrades: [{plugin: pre-shared, key: "${KEY}"}]\n'
    changes = diff(folder.load(text, {"KEY": SECRET}), folder.load(text, {"KEY": SECRET + "2"}))
    assert changes.words() == ["networks.main.upgrades.0.key: another secret"]


LOCKED = '''
from typing import Annotated

from pydantic import AfterValidator, SecretStr, model_validator
from zope.interface import implementer

from p2pframe.interfaces import IUpgrade
from p2pframe.plugin import Field, PluginConfig, plugin


def _long(secret):
    if len(secret.get_secret_value()) < 20:
        raise ValueError(f"too short: {secret.get_secret_value()}")
    return secret


class Account(PluginConfig):
    name: str = ""
    password: SecretStr = SecretStr("")


class LockedConfig(PluginConfig):
    key: Annotated[SecretStr, AfterValidator(_long)] | None = Field(None, description="A key.")
    keys: tuple[SecretStr, ...] = Field((), max_length=1, description="Keys.")
    accounts: dict[str, Account] = Field({}, description="Accounts.")

    @model_validator(mode="after")
    def _whole(self):
        if any(account.name == "bad" for account in self.accounts.values()):
            raise ValueError(f"refused: {[a.password.get_secret_value() for a in self.accounts.values()]}")
        return self


@plugin("locked", config=LockedConfig)
@implementer(IUpgrade)
class Locked:
    """Keeps secrets."""

    name = "locked"

    def __init__(self, config, context):
        self.config = config

    def begin(self, dialled, peer, info):
        raise NotImplementedError
'''


@pytest.mark.parametrize(
    "options",
    [
        "key: Hunter2",
        "key: 77777",
        "key: [Hunter2]",
        "key: {a: Hunter2}",
        "keys: [Hunter2, 77777]",
        "keys: Hunter2",
        "keys: [12345, 77777]",
        "accounts: Hunter2",
        "accounts: {a: Hunter2}",
        "accounts: {a: {password: 77777}}",
        "accounts: {a: {nme: x, password: Hunter2}}",
        "accounts: {a: {name: bad, password: Hunter2}}",
        "accounts: {a: {name: 1, password: Hunter2}}",
    ],
)
def test_a_field_that_its_model_keeps_secret_is_not_shown_by_an_error(folder, options):
    folder.write(LOCKED, "plugins/locked.py").chmod(0o644)
    found = folder.problems(GOOD + f"    upgrades: [{{plugin: locked, {options}}}]\n")
    for piece in ("unter2", "77777"):
        assert piece not in "\n".join(found)


def test_such_a_field_is_used_and_hidden(folder):
    folder.write(LOCKED, "plugins/locked.py").chmod(0o644)
    text = (
        GOOD
        + f"    upgrades: [{{plugin: locked, key: {SECRET * 2}, accounts: {{a: {{name: me, password: {SECRET}}}}}}}]\n"
    )
    spec = folder.load(text)
    [upgrade] = spec.networks["main"].upgrades
    assert upgrade.config.key.get_secret_value() == SECRET * 2
    assert SECRET not in everything(spec)
    assert spec.effective["networks"]["main"]["upgrades"][0]["key"] == "***"
    assert (
        diff(spec, folder.load(text.replace("horse", "camel"))).words()[0]
        == "networks.main.upgrades.0.key: another secret"
    )
