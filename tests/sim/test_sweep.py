"""Sweeps: every combination, side by side, in processes of their own; what dies is one failed run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from p2pframe.errors import P2PFrameError
from p2pframe.sim.fresh import Crew
from p2pframe.sim.run import Job
from p2pframe.sim.sweep import plan, run_here, run_on_dask, values_of

ROOT = Path(__file__).parents[2]
QUICK = "tests.sim.runners:quick"


@pytest.mark.parametrize(
    ("text", "key", "values"),
    [
        ("a.b=1", "a.b", ["1"]),
        ("a=1, 2 ,3", "a", ["1", "2", "3"]),
        ("a={b: 1, c: 2},[3, 4]", "a", ["{b: 1, c: 2}", "[3, 4]"]),
        ("a='x,y',\"z,\"", "a", ["'x,y'", '"z,"']),
        ("a=x=y", "a", ["x=y"]),
        ("a=''", "a", ["''"]),
    ],
)
def test_values_are_split_at_commas_that_part_them(text, key, values):
    assert values_of(text) == (key, values)


@pytest.mark.parametrize("text", ["a", "=1", "a=", "a=1,,2", "a=1,1"])
def test_what_is_no_list_of_values_is_told(text):
    with pytest.raises(P2PFrameError, match="'"):
        values_of(text)


def test_a_plan_is_every_combination_seeds_changing_first():
    jobs = plan("s.yaml", [1, 2], ["default", "flood"], {"a": ["x", "y"], "b": ["z"]}, {"c": "w"}, (3,))
    assert [(job.seed, job.variant, dict(job.settings)["a"]) for job in jobs] == [
        (1, "default", "x"), (2, "default", "x"), (1, "flood", "x"), (2, "flood", "x"),
        (1, "default", "y"), (2, "default", "y"), (1, "flood", "y"), (2, "flood", "y"),
    ]  # fmt: skip
    assert jobs[0].settings == (("c", "w"), ("a", "x"), ("b", "z"))
    assert {job.faults for job in jobs} == {(3,)}
    assert plan("s.yaml", [None], ["default"]) == [Job("s.yaml")]


def test_a_plan_of_too_many_runs_is_refused():
    values = [str(number) for number in range(1000)]
    with pytest.raises(P2PFrameError, match="that makes 1000000 runs: at most 100000"):
        plan("s.yaml", [1], ["default"], {"a": values, "b": values})


def test_each_run_has_a_process_of_its_own_and_its_place_in_the_results():
    done, reached = [], []
    jobs = [Job("s.yaml", seed) for seed in (9, 3, 5)]
    results = run_here(jobs, 2, lambda *at: reached.append(at), lambda index, _: done.append(index), QUICK)
    assert [result.seed for result in results] == [9, 3, 5]
    assert sorted(done) == [0, 1, 2]
    assert sorted(reached) == [(0, 1.0), (1, 1.0), (2, 1.0)]
    processes = {result.values["process"] for result in results}
    assert len(processes) == 3 and os.getpid() not in processes
    assert not any(result.failures for result in results)


def test_what_dies_or_raises_is_a_failed_run_and_the_others_go_on():
    jobs = [Job("dir/s.yaml", seed, "v", (("a", "b"),)) for seed in range(1, 6)]
    results = run_here(jobs, 3, runner="tests.sim.runners:troubled")
    texts = ["\n".join(result.failures) for result in results]
    assert texts[0] == "its process was ended by SIGKILL"
    assert texts[1] == "its process ended with status 7: its last words"
    assert texts[2] == "a mistake that says what to do"
    assert "RuntimeError: a mistake in the code" in texts[3] and "runners.py" in texts[3]
    assert texts[4] == "" and results[4].trace == "5"
    for result, job in zip(results, jobs, strict=True):
        assert (result.seed, result.variant, result.settings) == (job.seed, "v", {"a": "b"})
        assert result.command == job.command


def test_a_hash_seed_is_the_childs_alone():
    def hashes(seed):
        return {r.values["hash"] for r in run_here([Job("s.yaml", 1), Job("s.yaml", 2)], 2, None, None, QUICK, seed)}

    assert len(hashes("1")) == 1
    assert hashes("1") != hashes("2")


def wait_for(condition, limit=30.0):
    until = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < until, "nothing came of it"
        time.sleep(0.02)


def running(pid):
    """Whether a process is there and no zombie that nobody has waited for."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def pids(file):
    return [int(line) for line in file.read_text().splitlines()] if file.exists() else []


SWEEP = """
import sys
from p2pframe.sim.run import Job
from p2pframe.sim.sweep import run_here
try:
    run_here([Job(sys.argv[1], seed) for seed in range(8)], 2, runner="tests.sim.runners:endless")
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_however_the_sweep_ends_its_processes_end_too(end, tmp_path):
    seen = tmp_path / "pids"
    sweep = subprocess.Popen(
        [sys.executable, "-c", SWEEP, str(seen)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        wait_for(lambda: len(pids(seen)) == 2)
        sweep.send_signal(end)
        said, _ = sweep.communicate(timeout=30)
    finally:
        sweep.kill()
        sweep.wait()
    assert (said, sweep.returncode) == (("interrupted\n", 0) if end == signal.SIGINT else ("", -signal.SIGKILL))
    wait_for(lambda: not any(running(pid) for pid in pids(seen)))
    assert len(pids(seen)) == 2, "more began after the end"


def test_a_crew_that_has_ended_begins_nothing():
    crew = Crew(QUICK)
    crew.end()
    assert crew.run(Job("s.yaml")).error == "ended before it began"


# --- Dask


def test_without_dask_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(P2PFrameError, match=r"pip install 'p2pframe\[dask\]'"):
        run_on_dask([Job("s.yaml")], "tcp://127.0.0.1:1")


@pytest.mark.filterwarnings("ignore")
def test_a_scheduler_that_is_not_there_is_told_of(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("p2pframe.sim.sweep._CONNECT", 0.5)
    with pytest.raises(P2PFrameError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        run_on_dask([Job("s.yaml")], "tcp://127.0.0.1:9")


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    environment = {"PYTHONPATH": str(ROOT)}
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1", env=environment
    ) as cluster:
        yield cluster


@pytest.mark.filterwarnings("ignore")
def test_a_cluster_gives_what_this_machine_gives(cluster):
    jobs = [Job("s.yaml", seed) for seed in range(6)]
    done = []
    results = run_on_dask(jobs, cluster.scheduler_address, lambda index, _: done.append(index), QUICK)
    here = run_here(jobs, 2, runner=QUICK)
    assert [(r.seed, r.trace, r.command) for r in results] == [(r.seed, r.trace, r.command) for r in here]
    assert sorted(done) == list(range(6))
    assert len({result.values["process"] for result in results}) == 6


@pytest.mark.filterwarnings("ignore")
def test_on_a_cluster_too_what_dies_is_one_failed_run(cluster):
    jobs = [Job("s.yaml", seed) for seed in range(1, 6)]
    results = run_on_dask(jobs, cluster.scheduler_address, None, "tests.sim.runners:troubled")
    assert [result.failures[:1] for result in results][:3] == [
        ["its process was ended by SIGKILL"],
        ["its process ended with status 7: its last words"],
        ["a mistake that says what to do"],
    ]
    assert results[4].failures == []


DASK_SWEEP = """
import sys
from p2pframe.sim.run import Job
from p2pframe.sim.sweep import run_on_dask
try:
    run_on_dask([Job(sys.argv[1], seed) for seed in range(8)], sys.argv[2], None, "tests.sim.runners:endless")
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="looks for processes in /proc")
def test_an_interrupted_sweep_ends_what_runs_on_the_cluster(cluster, tmp_path):
    seen = tmp_path / "pids"
    sweep = subprocess.Popen(
        [sys.executable, "-c", DASK_SWEEP, str(seen), cluster.scheduler_address],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        wait_for(lambda: len(pids(seen)) == 2)
        sweep.send_signal(signal.SIGINT)
        said, _ = sweep.communicate(timeout=30)
    finally:
        sweep.kill()
        sweep.wait()
    assert said == "interrupted\n"
    wait_for(lambda: not any(running(pid) for pid in pids(seen)))
    time.sleep(0.5)
    assert len(pids(seen)) == 2, "more began after the end"
