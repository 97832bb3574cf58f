"""The routes of the admin, of all its parts. They are data: no node is needed to list them."""

from __future__ import annotations

import inspect
import pkgutil
from importlib import import_module
from typing import Any
from unittest.mock import MagicMock

import p2pframe.admin
from p2pframe.admin.routes import Route


def admin_routes() -> list[Any]:
    """Those of each class of the admin that has `routes()`, without pages, in the order of their paths."""
    found = []
    for module in pkgutil.iter_modules(p2pframe.admin.__path__, "p2pframe.admin."):
        for _, part in inspect.getmembers(import_module(module.name), inspect.isclass):
            if part.__module__ == module.name and inspect.isfunction(getattr(part, "routes", None)):
                found += [one for one in part.routes(MagicMock()) or () if isinstance(one, Route)]
    return sorted(found, key=lambda one: (one.path, one.method))
