"""A run or a sweep for people and for programs: a table on the terminal, and a folder with JSON, CSV and one HTML page.

`Report` is what there is to tell, `write` writes the folder, `terminal.show` prints. matplotlib, jinja2 and rich are
imported when they are used, and without matplotlib (the extra `report`) all but the page is written.
"""

from __future__ import annotations

from p2pframe.sim.report.folder import OutputFolder, Written, read, write
from p2pframe.sim.report.model import Report

__all__ = ["OutputFolder", "Report", "Written", "read", "write"]
