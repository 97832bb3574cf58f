"""Installs the real peers for Node.js that tests/interop talks to, by npm, into a folder: bcoin and bittorrent-dht.

bcoin's native parts (leveldown) do not build on newer Nodes; it runs without them (NODE_BACKEND=js, --memory), so the
override names a leveldown that can be had and no install script runs.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGE = {
    "private": True,
    "dependencies": {"bcoin": "1.0.2", "bittorrent-dht": "11.0.12"},
    "overrides": {"leveldown": "6.1.1"},
}


def main() -> int:
    if len(sys.argv) != 2:
        print(f"usage: {sys.argv[0]} FOLDER", file=sys.stderr)
        return 2
    missing = [name for name in ("node", "npm") if shutil.which(name) is None]
    if missing:
        print(
            f"error: {' and '.join(missing)} not found: the interop tests run peers written for Node.js.\n"
            "Install Node.js 18 or newer with npm (Debian and Ubuntu: apt-get install -y nodejs npm).",
            file=sys.stderr,
        )
        return 1
    folder = Path(sys.argv[1])
    wanted = json.dumps(PACKAGE, indent=2) + "\n"
    package = folder / "package.json"
    installed = [folder / "node_modules" / name / "package.json" for name in ("bcoin", "bittorrent-dht")]
    if all(one.exists() for one in installed) and package.exists() and package.read_text() == wanted:
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    package.write_text(wanted)
    command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
    result = subprocess.run(command, cwd=folder, check=False)
    if result.returncode:
        print(f"error: npm could not install the peers into {folder}: its message is above", file=sys.stderr)
    return result.returncode


if __name__ == "__main__":
    sys.exit(main())
