"""The reference shows everything that there is: built as `tox -e docs` builds it, and read as a reader does."""

from __future__ import annotations

import html
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from p2pframe import errors, interfaces, model
from p2pframe.interfaces import SEAMS
from p2pframe.registry import Registry

ROOT = Path(__file__).parents[2]


def all_routes() -> list[Any]:
    """The admin's, as the documentation lists them."""
    spec = importlib.util.spec_from_file_location("admin_routes", ROOT / "docs" / "_ext" / "admin_routes.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: list[Any] = module.admin_routes()
    return found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The text of each page, built once; the build itself warns of nothing."""
    if importlib.util.find_spec("sphinx") is None or importlib.util.find_spec("myst_parser") is None:
        pytest.skip("sphinx is not installed here: tox -e docs builds the documentation")
    out = tmp_path_factory.mktemp("html")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-D", "html_theme=basic"]
    built = subprocess.run([*command, str(ROOT / "docs"), str(out)], capture_output=True, text=True, timeout=240)
    assert built.returncode == 0, built.stderr
    return {
        str(path.relative_to(out)): html.unescape(re.sub(r"<[^>]+>", "", path.read_text()))
        for path in out.rglob("*.html")
    }


def test_the_page_of_interfaces_shows_each_with_every_method_and_value(pages: dict[str, str]) -> None:
    text = pages["reference/interfaces.html"]
    for name in interfaces.__all__:
        if name == "SEAMS":
            continue
        assert re.search(rf"\b{name}\b", text), name
    for seams in SEAMS.values():
        for seam in seams:
            for name in seam.names():
                assert re.search(rf"\b{name}\b", text), f"{seam.__name__}.{name}"


def test_the_page_of_values_shows_each_value_and_error(pages: dict[str, str]) -> None:
    text = pages["reference/values.html"]
    for module in (model, errors):
        for name, found in vars(module).items():
            if isinstance(found, type) and found.__module__ == module.__name__ and not name.startswith("_"):
                assert re.search(rf"\b{name}\b", text), name


def test_the_page_of_plugins_shows_each_with_every_option(pages: dict[str, str]) -> None:
    text = pages["reference/plugins.html"]
    registry = Registry()
    known = [one for one in registry.known() if "p2pframe" in one.origin]
    assert len(known) > 10
    for one in known:
        assert f"{one.kind}: {one.name}" in text
        for option in registry.load(one).__p2pframe_plugin__.config.model_fields:
            assert re.search(rf"\b{option}\b", text), f"{one.kind}.{one.name}: {option}"


def test_the_examples_stand_in_the_how_tos_as_they_are(pages: dict[str, str]) -> None:
    for name, sign in [("validator", "class QuotaValidator"), ("transport", "def can_dial"), ("storage", "def _write")]:
        assert sign in pages[f"how-to/write-plugins/{name}.html"]


def test_the_page_of_the_http_api_has_each_route_with_its_role_parameters_and_values(pages: dict[str, str]) -> None:
    from p2pframe.admin.openapi import is_described

    text = pages["reference/http-api.html"]
    routes = [route for route in all_routes() if is_described(route)]
    assert "/api/v1/logs" in {route.path for route in routes}, "those of all parts of the admin"
    for route in routes:
        title = f"{route.method} {route.path}"
        assert text.count(f"\n{title}¶") == 1, title
        part = text.partition(f"\n{title}¶")[2].partition("refuses with")[0]
        assert f"Role: {'none is needed' if route.role is None else route.role.name.lower()}." in part, title
        for one in filter(None, (route.query, route.body, route.answer)):
            for name in one.model_fields:
                assert re.search(rf"\b{name}\b", text), f"{title}: {name}"
