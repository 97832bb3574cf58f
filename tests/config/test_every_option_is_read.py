"""Every option is read by something, and what is marked live stands in a class that takes new options while it runs."""

from __future__ import annotations

import ast
import inspect
import shutil
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from zope.interface import implementedBy

from p2pframe.config.settings import Limits, NodeSettings
from p2pframe.interfaces import IReconfigurable
from p2pframe.plugin import is_live
from p2pframe.registry import Registry

ROOT = Path(__file__).parents[2]
HOLDERS = {"config", "_config", "options", "_options", "limits", "_limits", "settings", "node"}
"""What a config is called where it is read: `self.config.x`, `limits.x`, `self._limits().x`."""

pytestmark = pytest.mark.skipif(
    not entry_points(group="p2pframe.plugins"), reason="p2pframe is not installed, so there are no built-in plugins"
)


def read_in(*files):
    """The names of all attributes that these files read off something that is called as a config is."""
    names = set()
    for file in files:
        for outer in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            own = isinstance(outer, ast.ClassDef) and outer.name.endswith("Config")
            for node in ast.walk(outer) if own else [outer]:
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                    holder = node.value.func if isinstance(node.value, ast.Call) else node.value
                    name = getattr(holder, "attr", getattr(holder, "id", ""))
                    if name in HOLDERS or (own and name == "self"):
                        names.add(node.attr)
    return names


@pytest.fixture(scope="module")
def plugins(tmp_path_factory):
    """Every plugin: those built in, and the worked examples."""
    folder = tmp_path_factory.mktemp("plugins", numbered=True)
    folder.chmod(0o755)
    for file in (ROOT / "plugins").glob("*.py"):
        shutil.copy(file, folder)
        (folder / file.name).chmod(0o644)
    registry = Registry([folder])
    return {f"{known.kind}.{known.name}": registry.load(known) for known in registry.known()}


def test_the_limits_and_the_nodes_settings():
    read = read_in(*(ROOT / "p2pframe/core").rglob("*.py"), ROOT / "p2pframe/tap.py")
    # The folders of plugins are the registry's matter, which reads them off the tree before there is an object.
    assert {*NodeSettings.model_fields, *Limits.model_fields} - read == {"plugin_path"}
    assert '"plugin_path"' in (ROOT / "p2pframe/config/loader.py").read_text()


def test_the_options_of_each_plugin(plugins):
    unread = {}
    for label, cls in plugins.items():
        file = Path(inspect.getfile(cls))
        alone = "p2pframe" not in file.parts or file.parent.parent.name == "p2pframe"
        read = read_in(file) if alone else read_in(*file.parent.glob("*.py"))
        left = set(cls.__p2pframe_plugin__.config.model_fields) - read
        if left:
            unread[label] = left
    assert unread == {}


def test_every_option_is_described(plugins):
    models = [NodeSettings, Limits, *(cls.__p2pframe_plugin__.config for cls in plugins.values())]
    assert [f"{m.__name__}.{n}" for m in models for n, info in m.model_fields.items() if not info.description] == []


def test_live_options_belong_to_classes_that_can_be_reconfigured_and_only_those_have_some(plugins):
    for label, cls in plugins.items():
        model = cls.__p2pframe_plugin__.config
        live = [name for name in model.model_fields if is_live(model, name)]
        assert bool(live) == implementedBy(cls).isOrExtends(IReconfigurable), (label, live)
