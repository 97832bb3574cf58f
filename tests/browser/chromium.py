"""Which Chromium the tests use: P2PFRAME_CHROMIUM, Playwright's own, or the machine's.

As a program it sees to it that there is one: where there is none Playwright downloads its own, as root with the
libraries that it needs (tox -e browser).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path


def find(own: str) -> str:
    """The program; `own` is where Playwright keeps its own. Empty where there is none."""
    given = os.environ.get("P2PFRAME_CHROMIUM")
    if given:
        return given
    return own if Path(own).exists() else shutil.which("chromium") or shutil.which("google-chrome") or ""


def main() -> int:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = find(playwright.chromium.executable_path)
    if found:
        return 0
    libraries = ["--with-deps"] if os.geteuid() == 0 else []
    command = [sys.executable, "-m", "playwright", "install", *libraries, "chromium"]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
