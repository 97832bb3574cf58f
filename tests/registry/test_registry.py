"""Plugins are found without being imported, loaded when they are named, and refused with their origin."""

# ruff: noqa: E501 - expected messages and plugin texts stand in one piece

from __future__ import annotations

import sys
import textwrap
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from p2pframe.errors import PluginError
from p2pframe.registry import Registry
from p2pframe.registry.local import scan

HEAD = """\
from zope.interface import implementer
from p2pframe import interfaces
from p2pframe.interfaces import IApplication, IItemStore, IAuthenticator
from p2pframe.plugin import plugin
"""
APPLICATION = HEAD + textwrap.dedent("""\
    @plugin("{name}")
    @implementer(IApplication)
    class App:
        '''Does {name}.

        More of it.
        '''
        def start(self): ...
        def stop(self): ...
    """)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "plugins"
    path.mkdir(mode=0o755)
    return path


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    path.chmod(0o644)
    return path


def test_a_file_is_known_by_its_text_and_imported_when_named(folder):
    write(folder, "one.py", APPLICATION.format(name="one") + "import sys\nsys.imported_one = True\n")
    registry = Registry([folder], installed=())
    assert registry.names("application") == ["one"]
    [known] = registry.known()
    assert known.source.summary == "Does one."
    assert known.origin == f"{folder}/one.py:7"
    assert not hasattr(sys, "imported_one")
    cls = registry.find("application", "one")
    assert sys.imported_one
    del sys.imported_one
    assert cls.__p2pframe_plugin__.name == "one"
    assert registry.find("application", "one") is cls
    assert not list(folder.rglob("__pycache__"))


def test_another_registry_gives_the_same_class_until_the_file_changes(folder):
    write(folder, "one.py", APPLICATION.format(name="one"))
    first = Registry([folder], installed=()).find("application", "one")
    assert Registry([folder], installed=()).find("application", "one") is first
    write(folder, "one.py", APPLICATION.format(name="one") + "# edited\n")
    assert Registry([folder], installed=()).find("application", "one") is not first


@pytest.mark.parametrize(
    "text",
    [
        "import p2pframe.plugin\n@p2pframe.plugin.plugin('x')\n@implementer(IApplication)\nclass X:\n    'X.'\n    def start(self): ...\n    def stop(self): ...\n",
        "from p2pframe.plugin import plugin as p\n@p(name='x')\n@implementer(interfaces.IApplication)\nclass X:\n    'X.'\n    def start(self): ...\n    def stop(self): ...\n",
        "from p2pframe import plugin as q\n@q.plugin('x', kind='application')\n@implementer(IApplication)\nclass X:\n    'X.'\n    def start(self): ...\n    def stop(self): ...\n",
        # The kind is not in the text: such a file is imported to learn it.
        "class IMine(IApplication): ...\n@plugin('x')\n@implementer(IMine)\nclass X:\n    'X.'\n    def start(self): ...\n    def stop(self): ...\n",
    ],
)  # fmt: skip
def test_however_the_decorator_is_written(folder, text):
    write(folder, "x.py", HEAD + text)
    registry = Registry([folder], installed=())
    assert registry.find("application", "x").__doc__ == "X."
    assert registry.names("application") == ["x"]


def test_other_decorators_and_hidden_files_are_no_plugins(folder):
    write(folder, "other.py", "def plugin(n): return lambda c: c\n@plugin('x')\nclass X: ...\n")
    write(folder, "_private.py", APPLICATION.format(name="private"))
    write(folder, ".hidden.py", "not python (")
    assert Registry([folder], installed=()).known() == []


def refusal(folder, name="x", kind="application"):
    with pytest.raises(PluginError) as caught:
        Registry([folder], installed=()).find(kind, name)
    return str(caught.value).replace(f"{folder}/", "")


def test_an_import_error_names_the_line_of_the_file(folder):
    write(folder, "x.py", APPLICATION.format(name="x") + "\nimport nothing_of_that_name\n")
    assert refusal(folder) == "x.py:15: importing it failed: ModuleNotFoundError: No module named 'nothing_of_that_name'"


def test_an_error_deeper_down_names_the_line_of_the_file_too(folder):
    write(folder, "x.py", APPLICATION.format(name="x") + "\nimport json\njson.loads('{')\n")
    assert refusal(folder).startswith("x.py:16: importing it failed: JSONDecodeError: ")


def test_a_file_that_exits_does_not_end_the_program(folder):
    write(folder, "x.py", APPLICATION.format(name="x") + "raise SystemExit\n")
    assert refusal(folder) == "x.py: ends the program when it is imported"


def test_a_wrong_name_of_the_decorator_is_an_error_of_the_file(folder):
    write(folder, "x.py", HEAD + "@plugin('x')\n@implementer(IApplication)\nclass X:\n    def start(self): ...\n")
    assert refusal(folder).startswith("x.py:5: p2pframe_local_")
    assert "a plugin needs a docstring" in refusal(folder)


def test_what_the_interface_asks_for_and_is_missing_is_named(folder):
    write(folder, "x.py", HEAD + "@plugin('x')\n@implementer(IItemStore)\nclass X:\n    'X.'\n    def have(self, id, more): ...\n    def get(self, id): ...\n")
    text = refusal(folder, kind="item-store")
    assert text.startswith("item-store plugin 'x' of x.py:7: IItemStore.")
    assert "IItemStore.put(item) is missing" in text
    assert "IItemStore.have(id) is violated because 'X.have(self, id, more)' requires too many arguments" in text
    assert "failed to implement" not in text and "p2pframe_local" not in text


def test_a_file_that_is_not_python_is_an_error_of_its_folder(folder):
    write(folder, "x.py", "class X(:\n")
    with pytest.raises(PluginError, match=r"x\.py:1: not Python: invalid syntax"):
        Registry([folder], installed=())


def test_a_name_that_is_no_text_is_an_error(folder):
    write(folder, "x.py", HEAD + "N = 'x'\n@plugin(N)\n@implementer(IApplication)\nclass X: ...\n")
    with pytest.raises(PluginError, match=r"x\.py:6: write the plugin's name as text"):
        Registry([folder], installed=())


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(PluginError, match="nowhere: no such plugin folder"):
        Registry([tmp_path / "nowhere"], installed=())
    (tmp_path / "file").write_text("")
    (tmp_path / "file").chmod(0o644)
    with pytest.raises(PluginError, match="not a folder"):
        Registry([tmp_path / "file"], installed=())


def test_two_files_of_one_name_are_an_error_that_names_both(folder):
    write(folder, "a.py", APPLICATION.format(name="x"))
    write(folder, "b.py", APPLICATION.format(name="x"))
    with pytest.raises(PluginError) as caught:
        Registry([folder], installed=())
    assert str(caught.value) == (
        f"two application plugins are called 'x': in {folder}/a.py:7 and {folder}/b.py:7: rename or remove one"
    )


def test_a_file_and_a_package_of_one_name_are_an_error_that_names_both(folder):
    write(folder, "a.py", APPLICATION.format(name="x"))
    point = EntryPoint("application.x", "somewhere:X", "p2pframe.plugins")
    with pytest.raises(PluginError, match=r"two application plugins are called 'x': in entry point somewhere:X and .*a\.py:7"):
        Registry([folder], installed=[point])


def test_two_packages_of_one_name_are_an_error_when_it_is_named():
    points = [EntryPoint("application.x", f"{where}:X", "p2pframe.plugins") for where in ("one", "two")]
    with pytest.raises(PluginError, match="entry point one:X and entry point two:X"):
        Registry(installed=points).find("application", "x")


def test_an_unknown_name_is_told_the_nearest():
    points = [EntryPoint(f"relay.{name}", "m:X", "p2pframe.plugins") for name in ("inventory", "flood")]
    registry = Registry(installed=points)
    with pytest.raises(PluginError, match=r"^no relay plugin 'inventry' \(did you mean 'inventory'\?\)$"):
        registry.find("relay", "inventry")
    with pytest.raises(PluginError, match=r"^no relay plugin 'zzz': there is flood, inventory$"):
        registry.find("relay", "zzz")
    with pytest.raises(PluginError, match="no kind of plugin is called 'relays'"):
        registry.find("relays", "flood")


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A module that an entry point names."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(text):
        (tmp_path / "installed_plugin.py").write_text(text)
        sys.modules.pop("installed_plugin", None)
        return Registry(installed=[EntryPoint("application.x", "installed_plugin:App", "p2pframe.plugins")])

    yield make
    sys.modules.pop("installed_plugin", None)


def test_an_entry_point_is_loaded_when_named(package):
    registry = package(APPLICATION.format(name="x"))
    assert registry.names("application") == ["x"]
    assert "installed_plugin" not in sys.modules
    assert registry.find("application", "x").__module__ == "installed_plugin"
    assert registry.origin("application", "x") == "entry point installed_plugin:App"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (APPLICATION.format(name="y"), "its class says that it is the application plugin 'y'"),
        ("App = 5\n", "the entry point names no class"),
        ("class App: ...\n", "installed_plugin.App is no plugin: put @plugin(...) on it"),
        ("\n\n1 / 0\n", "installed_plugin.py:3: importing it failed: ZeroDivisionError: division by zero"),
        ("", "installed_plugin.py:1: importing it failed: AttributeError: module 'installed_plugin' has no attribute 'App'"),
        ("def f(:\n", "installed_plugin.py:1: importing it failed: SyntaxError: "),
    ],
)
def test_an_entry_point_that_is_wrong(package, text, expected):
    with pytest.raises(PluginError) as caught:
        package(text).find("application", "x")
    assert expected in str(caught.value)


def test_a_subclass_of_a_plugin_is_none_itself(package):
    text = APPLICATION.format(name="x").replace("class App:", "class Base:") + "class App(Base): ...\n"
    with pytest.raises(PluginError, match=r"App is no plugin"):
        package(text).find("application", "x")


def test_every_plugin_of_the_repository_can_be_scanned():
    root = Path(__file__).parents[2] / "plugins"
    for file in sorted(root.glob("*.py")):
        for mention in scan(file):
            assert mention.kind, f"{file}: the kind of {mention.name} is not to be seen from the text"
            assert mention.summary


def test_an_entry_point_of_the_backport_is_one_too():
    """importlib_metadata, once imported by anybody, has Python's own functions give its entry points."""

    class Point:
        name, value, group = "transport.tcp", "p2pframe.transports.tcp:TcpTransport", "p2pframe.plugins"
        module, attr, dist = "p2pframe.transports.tcp", "TcpTransport", None

        def load(self):
            return EntryPoint(self.name, self.value, self.group).load()

    cls = Registry(installed=[Point()]).find("transport", "tcp")
    assert cls.__name__ == "TcpTransport"
