"""Configurations written to a folder, loaded with the stand-in plugins."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from p2pframe.config import load
from p2pframe.errors import ConfigError
from p2pframe.registry import Registry

GOOD = """\
version: 1
node:
  plugin_path: [plugins]
networks:
  main:
    protocol: {plugin: chain, chain: regtest}
    transports: [{plugin: tcp, listen: ["127.0.0.1:18444"]}]
"""


class Folder:
    """A folder with a configuration, its includes, and the stand-in plugins in `plugins`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "plugins").mkdir(mode=0o755)
        shutil.copy(Path(__file__).parent / "stand_ins.py", path / "plugins" / "all.py")
        (path / "plugins" / "all.py").chmod(0o644)

    def write(self, text, name="node.yaml"):
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(text, bytes):
            target.write_bytes(text)
        else:
            target.write_text(text, encoding="utf-8")
        return target

    def load(self, text, env=None, **includes):
        for name, content in includes.items():
            self.write(content, name + ".yaml")
        return load(self.write(text), env or {}, Registry(installed=()))

    def problems(self, text, env=None, **includes):
        """Every problem of a configuration, its file without the folder."""
        with pytest.raises(ConfigError) as caught:
            self.load(text, env, **includes)
        return [str(problem).replace(f"{self.path}/", "") for problem in caught.value.problems]

    def network(self, lines, **includes):
        """Problems of the good configuration with more lines in its network."""
        more = "".join(f"    {line}\n" for line in lines.splitlines())
        return self.problems(GOOD + more, **includes)


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)
