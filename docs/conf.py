"""How the documentation is built: `tox -e docs`. A warning is an error, and nothing is downloaded."""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "p2pframe"
author = "p2pframe contributors"
copyright = author
release = version = installed_version("p2pframe")

extensions = ["myst_parser", "p2pframe_reference"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "_ext"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "p2pframe"
html_show_sourcelink = False
html_show_copyright = False
pygments_style = "friendly"
