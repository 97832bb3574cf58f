"""The folder of `--out`: written whole, file by file, and never over anything that is not a report of ours."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from p2pframe.sim.report import tables
from p2pframe.sim.report.model import FORMAT, Report
from p2pframe.sim.results import ResultsError

PAGE_MARK = "<!doctype html>\n<!-- p2pframe sim report -->\n"
"""What our page begins with."""

FILES: Mapping[str, str] = {
    "results.json": f'{{"format": "{FORMAT}"',
    "values.csv": tables.VALUES_START,
    "curves.csv": tables.CURVES_START,
    "nodes.csv": tables.NODES_START,
    "edges.csv": tables.EDGES_START,
    "report.html": PAGE_MARK,
}
"""The files there are, and what tells one of ours from another of the same name: how it begins."""

WITHOUT_PAGE = "report.html was left out: its plots need matplotlib: pip install 'p2pframe[report]'"


@dataclass(frozen=True, slots=True)
class Written:
    """The files that were written, and why one was left out ("": none was)."""

    files: tuple[Path, ...]
    left_out: str = ""


class OutputFolder:
    """The folder that a report goes to. Making one looks whether it may: before a long run, not after it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises `ResultsError` where there is something that is no report of ours, naming it."""
        self.path = Path(path)
        self.check()

    def check(self) -> None:
        """Raises `ResultsError` as the constructor does."""
        try:
            entries = sorted(os.listdir(self.path))
        except FileNotFoundError:
            return
        except NotADirectoryError:
            raise ResultsError(f"{self.path} is not a folder: --out names one for the report") from None
        except OSError as error:
            raise ResultsError(f"reading {self.path}: {error.strerror}") from error
        for entry in entries:
            if not self._is_ours(entry):
                raise ResultsError(
                    f"{self.path / entry} is no report of ours: --out takes a new or empty folder, or one of an "
                    "earlier report, which is overwritten"
                )

    def _is_ours(self, entry: str) -> bool:
        # A part that a stopped process left behind may hold any of it.
        part = next((name for name in FILES if entry == _part(name)), None)
        start = FILES.get(entry)
        if part is None and start is None:
            return False
        file = self.path / entry
        try:
            if not stat.S_ISREG(file.lstat().st_mode):
                return False
            if start is None:
                return True
            with file.open("rb") as stream:
                return stream.read(len(start.encode())) == start.encode()
        except OSError as error:
            raise ResultsError(f"reading {file}: {error.strerror}") from error

    def write(self, contents: Mapping[str, str]) -> tuple[Path, ...]:
        """Put these files there, and take away those of an earlier report that are not among them.

        Each appears whole or not at all: they are written aside, then renamed. Raises `ResultsError`.
        """
        self.check()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for name, text in contents.items():
                if not text.startswith(FILES[name]):
                    raise ValueError(f"{name} does not begin as ours do, and could not be overwritten the next time")
                self._write_part(name, text)
            for name in FILES:
                if name in contents:
                    os.replace(self.path / _part(name), self.path / name)
                else:
                    (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise ResultsError(f"writing {error.filename or self.path}: {error.strerror}") from error
        return tuple(self.path / name for name in contents)

    def _write_part(self, name: str, text: str) -> None:
        part = self.path / _part(name)
        part.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(part, flags, 0o666), "w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())


def _part(name: str) -> str:
    return f".{name}.new"


def write(report: Report, folder: OutputFolder) -> Written:
    """Write results.json, values.csv, curves.csv, nodes.csv and edges.csv where there is a graph, and report.html
    where matplotlib is installed.

    Raises `ResultsError`.
    """
    contents = {
        "results.json": report.to_json() + "\n",
        "values.csv": tables.values(report.results),
        "curves.csv": tables.curves(report.results),
    }
    if any(result.graphs for result in report.results):
        contents["nodes.csv"] = tables.nodes(report.results)
        contents["edges.csv"] = tables.edges(report.results)
    left_out = ""
    try:
        from p2pframe.sim.report.plots import plots
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "matplotlib":
            raise
        left_out = WITHOUT_PAGE
    else:
        from p2pframe.sim.report.page import page

        contents["report.html"] = PAGE_MARK + page(report, plots(report.results))
    return Written(folder.write(contents), left_out)


def read(folder: str | os.PathLike[str]) -> Report:
    """The report that a folder holds. Raises `ResultsError`."""
    file = Path(folder) / "results.json"
    try:
        return Report.from_json(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ResultsError(f"reading {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ResultsError(f"{file}: not the results of a simulation: {error.reason}") from error
    except ResultsError as error:
        raise ResultsError(f"{file}: {error}") from error
