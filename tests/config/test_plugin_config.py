"""A config model shows nothing of its values: any of them may be a secret from the environment."""

from p2pframe.plugin import PluginConfig


class KeyConfig(PluginConfig):
    key: str


def test_no_value_shows_when_a_config_is_printed_or_logged():
    config = KeyConfig(key="hunter2")
    assert "hunter2" not in f"{config} {config!r} {[config]}"
