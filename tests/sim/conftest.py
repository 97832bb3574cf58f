"""Scenarios in a folder of their own, with the node files that they name."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pframe.errors import ConfigError
from p2pframe.sim.scenario_file import load_scenario

NODE = """\
version: 1
node: {data_dir: ./data, watchdog: 1s}
networks:
  bitcoin:
    protocol: {plugin: bitcoin, chain: regtest}
    transports: [{plugin: tcp, listen: ["0.0.0.0:18444"]}]
"""


class ScenarioFolder:
    """A folder with a scenario and node files, `node.yaml` among them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.write("node.yaml", NODE)

    def write(self, name, text):
        target = self.path / name
        target.write_text(text, encoding="utf-8")
        return target

    def load(self, text, *args, **options):
        return load_scenario(self.write("scenario.yaml", text), *args, **options)

    def problems(self, text, *args, **options):
        """Every problem of a scenario, its files without the folder."""
        with pytest.raises(ConfigError) as caught:
            self.load(text, *args, **options)
        return [str(problem).replace(f"{self.path}/", "") for problem in caught.value.problems]


@pytest.fixture
def scenarios(tmp_path):
    return ScenarioFolder(tmp_path)
