"""A report in each of its forms: complete, harmless whatever names are in it, and never over somebody's files."""

import builtins
import csv
import io
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from p2pframe.sim.report import OutputFolder, Report, folder, read, write
from p2pframe.sim.report import tables as csv_tables
from p2pframe.sim.report.folder import FILES, WITHOUT_PAGE
from p2pframe.sim.report.model import visible
from p2pframe.sim.report.terminal import show
from p2pframe.sim.results import TIME, Curve, FaultNote, Judgement, ResultsError, RunResult
from p2pframe.sim.world_graph import WorldGraph, WorldNode

WRITTEN = [name for name in FILES if name not in ("nodes.csv", "edges.csv")]
"""Of runs without a graph; see test_world_graph."""
HOSTILE = [
    "<script>alert(1)</script>",
    "</style></svg><img src=x onerror=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "]]><![CDATA[&amp;&#0;",
    '" onload="alert(1)',
    "$\\frac{1}$ $",
    "_hidden",
    "\x1b]0;title\x07\x1b[2J",
    "[bold red]markup[/]:smile:",
    "\u202egnp.exe\u2066",
    "\ud800\ufffe\x00",
    "節點 ❦",
    "=cmd|'/c calc'!A1",
    "@SUM(1)",
    "line\none\r\ntwo",
    "long" * 2000,
]


def run(variant="default", seed=1, value=1.0, name="tx", **fields):
    ok = value <= 1
    return RunResult(
        scenario="propagation",
        seed=seed,
        variant=variant,
        trace="ab" * 32,
        duration=600.0,
        cpu=12.5,
        events=5,
        deliveries=1000,
        hosts=30,
        values={"delay": value, name: 0.1 + 0.2},
        curves=[
            Curve("coverage", "Coverage", "time (s)", "hosts", [(0.0, 0.0), (value, 1.0)], series=name),
            Curve("connections", "Connections", TIME, "connections", [(0.0, 8.0), (60.0, 9.0)], "steps"),
            Curve("scores", "Scores", "score", "peers", [(0.0, 5.0), (10.0, 2.0)], "histogram", name),
            Curve("bytes", "Bytes", "message", "bytes", [(0, 10.0), (1, 20.0)], "bars", "", ["inv", name]),
        ],
        faults=[FaultNote(1, 60.0, 120.0, "partition"), FaultNote(2, 200.0, None, f"kill {name}")],
        failures=[] if ok else [f"Traceback\nValueError: {name}"],
        judgements=[Judgement("delay is at most 1", ok, value, "sim.yaml:3:5")],
        command=f"p2pframe sim sim.yaml --seed {seed} --variant {variant}",
        **fields,
    )


def sweep():
    results = [run(variant, seed, value=seed * factor) for variant, factor in (("a", 0.1), ("b", 1)) for seed in (1, 2)]
    return Report("propagation", results, [Judgement("delay: a to b", False, 10.0, "sim.yaml:9:5")], "p2pframe sim x")


class Page(HTMLParser):
    """What a browser would make of it, roughly: tags with their attributes, and the text outside of them."""

    VOID = {"meta"}

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text, self.ids = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.ids += [value for key, value in attributes if key == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def count(self, tag):
        return sum(name == tag for name, _ in self.tags)


def written(report, tmp_path):
    found = write(report, OutputFolder(tmp_path / "out"))
    assert not found.left_out
    assert [file.name for file in found.files] == WRITTEN
    return {file.name: file.read_bytes().decode() for file in found.files}


def printed(report, width=200):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    show(report, console)
    return console.file.getvalue()


@pytest.fixture(scope="module")
def page_of_sweep(tmp_path_factory):
    return written(sweep(), tmp_path_factory.mktemp("sweep"))["report.html"]


@pytest.fixture(scope="module")
def page_of_one(tmp_path_factory):
    return written(Report("propagation", [run()]), tmp_path_factory.mktemp("one"))["report.html"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The page of the hostile names' runs with other names."""
    results = [run("v", value=2.0, name="n", settings={"k": "w"}), run("b")]
    report = Report("s", results, [Judgement("j", False, None, "w")], "c")
    return Page(written(report, tmp_path_factory.mktemp("plain"))["report.html"])


def test_everything_is_in_results_json_exact(tmp_path):
    report = sweep()
    texts = written(report, tmp_path)
    assert read(tmp_path / "out") == report
    document = json.loads(texts["results.json"])
    assert document["ok"] is False
    assert [(a["variant"], a["values"]["delay"]["n"]) for a in document["aggregates"]] == [("a", 2), ("b", 2)]


def test_a_row_for_each_run(tmp_path):
    results = [run(settings={"degree": "8"}), run("flood", 2, value=2.0, name="=1+1")]
    rows = [*csv.DictReader(io.StringIO(csv_tables.values(results)))]
    assert [(row["variant"], row["seed"], row["setting:degree"]) for row in rows] == [
        ("default", "1", "8"),
        ("flood", "2", ""),
    ]
    assert float(rows[0]["tx"]) == 0.1 + 0.2
    assert rows[1]["tx"] == ""
    assert rows[1]["'=1+1"] == str(0.1 + 0.2)
    assert (rows[1]["judgements"], rows[1]["failed"], rows[1]["failures"]) == ("1", "1", "1")


def test_a_row_for_each_point():
    rows = [*csv.DictReader(io.StringIO(csv_tables.curves([run()])))]
    assert len(rows) == 8
    assert [(row["label"], float(row["y"])) for row in rows if row["curve"] == "bytes"] == [("inv", 10.0), ("tx", 20.0)]


@pytest.mark.parametrize(
    "text", ["=1+1", "+1+1", "-1+1", "@A1", "\t=1", "\r=1", "  =1", "\n=1", "\uff1d1", "\uff0b1+1"]
)
def test_no_cell_begins_a_formula(text):
    assert csv_tables.safe_cell(text).startswith("'")


@pytest.mark.parametrize("text", ["-1", "-1.5e3", "+2", "a=b", "", "8"])
def test_numbers_and_plain_text_stay_as_they_are(text):
    assert csv_tables.safe_cell(text) == text


def test_the_page_of_one_run(page_of_one):
    page = Page(page_of_one)
    # Four curves, and the timeline of the faults.
    assert page.count("svg") == 5
    text = " ".join(page.text)
    for said in ("Coverage", "time (s)", "hosts", "connections", "partition", "0.3", "pass", "sim.yaml:3:5"):
        assert said in text
    assert page.tags.index(("table", {})) < [tag for tag, _ in page.tags].index("svg")


def test_the_page_of_a_sweep(page_of_sweep):
    text = page_of_sweep
    page = Page(text)
    said = " ".join(page.text)
    assert "0.15 ± 0.635" in said
    assert "1 of 2" in said
    assert "p2pframe sim sim.yaml --seed 2 --variant b" in said
    assert "p2pframe sim sim.yaml --seed 2 --variant a" not in said
    # Both variants' curves on one plot, with a legend.
    (svg,) = re.findall(r'<svg[^>]*aria-label="Coverage">.*?</svg>', text, re.DOTALL)
    assert ">a tx</text>" in svg
    assert ">b tx</text>" in svg
    assert page.count("svg") == 4 + 2


def test_the_page_needs_nothing_else_and_runs_nothing(page_of_sweep):
    text = page_of_sweep
    page = Page(text)
    assert not {"script", "link", "img", "iframe", "object", "base", "image"} & {tag for tag, _ in page.tags}
    assert "://" not in text
    assert "@import" not in text
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "action")]
        assert attributes.get("href", "#").startswith("#")
    assert all(found == "#" for found in re.findall(r"url\((.)", text))
    assert len(page.ids) == len(set(page.ids))
    references = {value.strip("url()#") for _, a in page.tags for k, value in a.items() if k in ("href", "clip-path")}
    assert references == set(page.ids)


def test_the_plots_take_the_pages_colours_by_day_and_by_night(page_of_sweep):
    text = page_of_sweep
    head, body = text.split("<body>")
    assert not re.findall(r"#[0-9a-fA-F]{3,8}\b(?=[;\"])", re.sub(r'(href|clip-path)="[^"]*"', "", body))
    day, night = head.split("prefers-color-scheme: dark")
    for name in set(re.findall(r"var\((--[\w-]+)\)", text)):
        assert f"{name}:" in day
        assert f"{name}:" in night


def test_faults_are_shaded_where_the_curve_is_over_the_runs_time(page_of_one, page_of_sweep):
    for text in (page_of_one, page_of_sweep):
        svgs = dict(re.findall(r'<svg[^>]*aria-label="([^"]*)">(.*?)</svg>', text, re.DOTALL))
        assert "var(--fault)" in svgs["Connections"]
        assert "var(--fault)" not in svgs["Coverage"]


def test_the_same_results_make_the_same_page_in_any_process(tmp_path):
    (tmp_path / "in").mkdir()
    report = sweep()
    nodes = [WorldNode(f"host-{number}", "hosts", f"v4:{number % 7}", True) for number in range(60)]
    report.results[0].graphs = [WorldGraph("graph", "net", 9.0, nodes, [(n, n * 7 % 60, 1) for n in range(60)])]
    write(report, OutputFolder(tmp_path / "in"))
    again = "import sys; from p2pframe.sim.report import *;write(read(sys.argv[1]), OutputFolder(sys.argv[2]))"
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    subprocess.run([sys.executable, "-c", again, tmp_path / "in", tmp_path / "out"], check=True, env=environment)
    for name in FILES:
        assert (tmp_path / "in" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_do_no_harm(name, tmp_path, plain):
    one = run(name, value=2.0, name=name, settings={name: name})
    one.scenario = one.trace = one.command = name
    one.judgements[0].text = one.judgements[0].where = one.curves[0].title = one.curves[0].x = name
    report = Report(name, [one, run("b")], [Judgement(name, False, None, name)], name)
    texts = written(report, tmp_path)
    assert read(tmp_path / "out") == report

    page = Page(texts["report.html"])
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in plain.tags}
    assert page.count("svg") == plain.count("svg")
    assert {key for _, a in page.tags for key in a} <= {key for _, a in plain.tags for key in a}
    assert visible(name, 60)[:40] in "".join(page.text)

    for text in (texts["values.csv"], texts["curves.csv"]):
        for row in csv.reader(io.StringIO(text)):
            assert not [cell for cell in row if cell.startswith(("=", "+", "@"))]
    for text in (*texts.values(), printed(report), printed(Report(name, [one]))):
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)


def test_the_terminal_tells_one_run():
    text = printed(Report("propagation", [run()]))
    for said in ("seed 1", "1000 deliveries", "80 per CPU second", "ab" * 32, "delay", "pass", "partition"):
        assert said in text
    assert "to run again" not in text


def test_the_terminal_reads_no_markup_in_names():
    assert "[bold red]x[/]:smile:" in printed(Report("[bold red]x[/]:smile:", [run(), run("b")]))
    assert "[bold red]x[/]:smile:" in printed(Report("s", [run(name="[bold red]x[/]:smile:")]))


def test_the_terminal_tells_a_sweep():
    text = printed(sweep())
    assert re.search(r"delay +0.15 ± 0.635 +1.5 ± 6.35", text)
    assert re.search(r"FAIL +b: delay is at most 1 +1 to 2 \(1 of 2 runs\) +sim.yaml:3:5", text)
    assert re.search(r"pass +a: delay is at most 1 +0.1 to 0.2 \(2 of 2 runs\)", text)
    assert re.search("FAIL +delay: a to b +10 +sim.yaml:9:5", text)
    assert "logged failure, b seed 2: ValueError: tx" in text
    assert text.count("p2pframe sim sim.yaml --seed") == 1


def test_a_command_is_printed_on_one_line_whatever_the_width():
    one = run(value=2.0)
    one.command = "p2pframe sim " + "x" * 5000
    assert one.command in printed(Report("s", [one]), width=40)


def test_a_terminal_of_ascii_can_print_it():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    show(Report("節點", [run(name="節點"), run(seed=2, name="節點")]), Console(file=stream, color_system=None))
    stream.flush()
    assert rb"\u7bc0\u9ede" in stream.buffer.getvalue()


def test_much_is_counted_and_not_printed():
    results = [run(seed=seed, value=2.0) for seed in range(50)]
    text = printed(Report("s", results))
    assert "and 30 more commands" in text
    assert "and 30 more logged failures" in text


def test_much_is_not_drawn_and_the_page_says_so(tmp_path):
    one = run()
    one.curves = [Curve("c", "C", TIME, "y", [(0.0, 1.0), (1.0, float("nan"))], series=str(i)) for i in range(30)]
    one.curves.append(Curve("b", "B", "x", "y", [(i, i) for i in range(40)], "bars", "", [f"m{i}" for i in range(40)]))
    one.faults = [FaultNote(i, float(i), None, "kill") for i in range(100)]
    text = written(Report("s", [one]), tmp_path)["report.html"]
    for said in ("6 more series", "24 points that", "first 60 of 100 faults", "30 highest of 40 bars", "40 more are"):
        assert said in text


def test_each_series_is_in_the_legend_whatever_its_name(tmp_path):
    one = RunResult("s", 1)
    one.curves = [Curve("c", "C", "x", "y", [(0.0, 1.0), (1.0, 2.0)], series=name) for name in ("_a", "", "b")]
    text = written(Report("s", [one]), tmp_path)["report.html"]
    assert [name for name in ("_a", "-", "b") if not re.search(rf"> ?{name}</text>", text)] == []


def test_a_run_without_anything_has_a_report(tmp_path):
    for report in (Report("s", [RunResult("s", 1)]), Report("s", [])):
        assert Page(written(report, tmp_path)["report.html"]).count("svg") == 0
        assert printed(report)


def test_empty_and_endless_curves_are_drawn(tmp_path):
    inf = float("inf")
    kinds = ("line", "steps", "histogram", "bars")
    one = RunResult("s", 1, duration=5.0, faults=[FaultNote(1, inf, None, "never"), FaultNote(2, 1.0, inf, "on")])
    for points in ([], [(inf, 1.0)], [(1.0, 1.0)], [(1.0, inf)]):
        one.curves += [Curve(f"{kind}{points}", "C", TIME, "y", points, kind) for kind in kinds]
    assert Page(written(Report("s", [one]), tmp_path)["report.html"]).count("svg") == 17


def test_without_matplotlib_the_rest_is_written(tmp_path, monkeypatch):
    written(Report("s", [run()]), tmp_path)
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("p2pframe.sim.report.plots"):
            raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    found = write(Report("s", [run(seed=2)]), OutputFolder(tmp_path / "out"))
    assert found.left_out == WITHOUT_PAGE
    assert "pip install 'p2pframe[report]'" in found.left_out
    # The page of the earlier run told of other results: it is gone.
    assert sorted(os.listdir(tmp_path / "out")) == ["curves.csv", "results.json", "values.csv"]


@pytest.mark.parametrize("name", ["thesis.tex", "results.json", "values.csv", "report.html", ".hidden"])
def test_a_folder_that_holds_something_else_is_refused_and_left_alone(name, tmp_path):
    (tmp_path / name).write_text("{}")
    with pytest.raises(ResultsError, match=re.escape(f"{tmp_path / name} is no report of ours")):
        OutputFolder(tmp_path)
    assert (tmp_path / name).read_text() == "{}"


def test_what_comes_while_the_simulation_runs_is_not_overwritten_either(tmp_path):
    out = OutputFolder(tmp_path)
    (tmp_path / "values.csv").write_text("mine")
    with pytest.raises(ResultsError, match="no report of ours"):
        write(Report("s", [run()]), out)
    assert os.listdir(tmp_path) == ["values.csv"]


def test_a_link_is_not_followed(tmp_path):
    written(Report("s", [run()]), tmp_path)
    (tmp_path / "elsewhere").write_text((tmp_path / "out" / "values.csv").read_text())
    (tmp_path / "out" / "values.csv").unlink()
    (tmp_path / "out" / "values.csv").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ResultsError, match="no report of ours"):
        OutputFolder(tmp_path / "out")


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(ResultsError, match="not a folder"):
        OutputFolder(tmp_path / "out")


def test_an_earlier_report_is_overwritten_whatever_a_stopped_process_left(tmp_path):
    written(sweep(), tmp_path)
    (tmp_path / "out" / ".values.csv.new").write_text("half")
    written(Report("s", [run()]), tmp_path)
    assert sorted(os.listdir(tmp_path / "out")) == sorted(WRITTEN)
    assert len(read(tmp_path / "out").results) == 1


def test_a_full_disk_leaves_the_earlier_report(tmp_path, monkeypatch):
    before = written(sweep(), tmp_path)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder.os, "fsync", full)
    with pytest.raises(ResultsError, match="No space left"):
        write(Report("s", [run()]), OutputFolder(tmp_path / "out"))
    assert {name: (tmp_path / "out" / name).read_text() for name in WRITTEN} == before


@pytest.mark.parametrize("text", ["", "[]", '{"format": "other"}', '{"format": "p2pframe sim results 1"}'])
def test_what_is_no_report_is_not_read(text, tmp_path):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(ResultsError, match=r"results\.json: not the results"):
        read(tmp_path)


def test_no_report_at_all(tmp_path):
    with pytest.raises(ResultsError, match="No such file"):
        read(tmp_path)


def test_the_report_is_imported_without_what_draws_and_prints():
    heavy = "matplotlib", "jinja2", "rich", "numpy"
    code = "import sys, p2pframe.sim.report, p2pframe.sim.report.terminal; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not {*heavy} & {*found.stdout.split()}


def test_the_templates_are_installed_with_the_package():
    root = Path(__file__).parents[2]
    assert "p2pframe.sim.report = templates/*\n" in (root / "setup.cfg").read_text()
