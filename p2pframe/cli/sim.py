"""`p2pframe sim`: run a scenario, sweep over seeds, settings and variants, check that it repeats, shrink, replay."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import click

from p2pframe.cli.sim_capture import replay_capture

if TYPE_CHECKING:
    from p2pframe.sim.report import OutputFolder
    from p2pframe.sim.results import Judgement, RunResult
    from p2pframe.sim.run import Job
    from p2pframe.sim.scenario import Scenario


class _FileOrCommand(click.Group):
    """A group whose first word may be a command's name; anything else goes to the command `run`, which has no name."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or args[0] not in self.commands:
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in super().list_commands(ctx) if name != "run"]

    def get_help(self, ctx: click.Context) -> str:
        run = self.commands["run"]
        return run.get_help(click.Context(run, info_name=ctx.info_name, parent=ctx.parent))


class _Run(click.Command):
    """The command without a name."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if parent is not None:
            info_name, parent = parent.info_name, parent.parent
        return super().make_context(info_name, args, parent, **extra)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(ctx.command_path, " ".join(self.collect_usage_pieces(ctx)))
        formatter.write_usage(ctx.command_path, "replay SCENARIO ...", prefix="       ")
        formatter.write_usage(ctx.command_path, "replay-capture NODE CAPTURE ...", prefix="       ")


def _faults(ctx: click.Context, param: click.Parameter, text: str | None) -> tuple[int, ...] | None:
    """`3,17` or `none`."""
    if text is None:
        return None
    if text == "none":
        return ()
    try:
        return tuple(sorted(dict.fromkeys(int(part) for part in text.split(","))))
    except ValueError:
        raise click.BadParameter(f"{text!r}: write numbers of faults, such as 3,17, or none", ctx, param) from None


def _time(ctx: click.Context, param: click.Parameter, text: str | None) -> float | None:
    """Virtual time: `90s`, `2min`, or seconds."""
    from pydantic_core import PydanticCustomError

    from p2pframe.plugin import parse_duration

    try:
        return None if text is None else parse_duration(text)
    except PydanticCustomError as error:
        raise click.BadParameter(f"{text!r}: {error.message()}", ctx, param) from None


_SCENARIO = click.argument("scenario", type=click.Path())
_SEED = click.option("--seed", type=int, help="Instead of the scenario's own.")
_VARIANT = click.option("--variant", metavar="NAME", help="One of the scenario's variants; default: the file as it is.")
_SET = click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="A value of the file: duration=90s. Repeatable."
)
_FAULTS = click.option(
    "--faults", callback=_faults, metavar="3,17", help="Let only these of the drawn faults happen; `none`: no fault."
)


@click.group(cls=_FileOrCommand)
def sim() -> None:
    """Run a scenario in virtual time: many nodes in one process, the same run for the same seed."""


@sim.command("run", cls=_Run, hidden=True)
@_SCENARIO
@_SEED
@_VARIANT
@_SET
@click.option("--check", is_flag=True, help="Run twice, in fresh processes that hash differently, and compare.")
@click.option("--sweep", multiple=True, metavar="KEY=A,B,C", help="Run with each of these values. Repeatable.")
@click.option("--variants", metavar="A,B|all", help="Run each of these variants.")
@click.option("--seeds", type=click.IntRange(1), metavar="N", help="Run this many seeds, from --seed on.")
@click.option("--jobs", type=click.IntRange(1), metavar="N", help="Runs side by side; default: one for each processor.")
@click.option("--dask", metavar="ADDRESS", help="Run on the Dask cluster of this scheduler: tcp://host:8786.")
@click.option("--out", type=click.Path(), metavar="DIR", help="Write results as JSON, CSV and an HTML page there.")
@click.option("--shrink", is_flag=True, help="Of the first run that fails, find the fewest faults that make it fail.")
@_FAULTS
def run(
    scenario: str,
    seed: int | None,
    variant: str | None,
    settings: tuple[str, ...],
    check: bool,
    sweep: tuple[str, ...],
    variants: str | None,
    seeds: int | None,
    jobs: int | None,
    dask: str | None,
    out: str | None,
    shrink: bool,
    faults: tuple[int, ...] | None,
) -> None:
    """Run a scenario in virtual time: many nodes in one process, the same run for the same seed.

    Exit status 1 says that an expectation failed, that a failure was logged, or that two runs of --check differ; the
    command that repeats it is printed then.
    """
    if variant is not None and variants is not None:
        raise click.UsageError("--variant is one, --variants are several: give one of the two")
    if check and dask is not None:
        raise click.UsageError("--check compares processes of this machine: leave --dask out")
    if check and shrink:
        raise click.UsageError("--check and --shrink are two questions: ask one at a time")
    from p2pframe.sim.report import OutputFolder
    from p2pframe.sim.sweep import plan, seeds_from

    with _reported():
        folder = OutputFolder(out) if out is not None else None
        fixed, swept = _settings(settings), _swept(sweep)
        first = _load(scenario, variant, {**fixed, **{key: values[0] for key, values in swept.items()}}, seed)
        names = _variants(first, variant, variants)
        if seeds is None:
            chosen: Sequence[int | None] = [seed]
        else:
            chosen = list(seeds_from(seed if seed is not None else _number(first), seeds))
        todo = plan(scenario, chosen, names, swept, fixed, faults)
        # A mistake in the last combination is told of before the first one runs for an hour.
        scenarios: dict[tuple[str, tuple[tuple[str, str], ...]], Scenario] = {}
        for job in todo:
            key = (job.variant, job.settings)
            if key not in scenarios:
                scenarios[key] = _load(scenario, job.variant, dict(job.settings), seed)
        if check:
            results, same = _check(todo, list(scenarios.values()), jobs, first.duration)
        else:
            results, same = _results(todo, jobs, dask, first.duration), True
        ok = _tell(first, results, folder) if results else False
        if shrink:
            _shrink([pair for pair in zip(todo, results, strict=True) if _failed(pair[1])], jobs)
    if not (same and ok) or any(map(_failed, results)):
        sys.exit(1)


@sim.command()
@_SCENARIO
@_SEED
@_VARIANT
@_SET
@_FAULTS
@click.option("--at", callback=_time, metavar="TIME", help="Show what happened around this virtual time.")
@click.option(
    "--window", callback=_time, default="1s", show_default=True, metavar="TIME", help="Half of it before, half after."
)
@click.option("--item", metavar="HEX", help="Show everything about an item, by its id, in either order of its bytes.")
def replay(
    scenario: str,
    seed: int | None,
    variant: str | None,
    settings: tuple[str, ...],
    faults: tuple[int, ...] | None,
    at: float | None,
    window: float,
    item: str | None,
) -> None:
    """Run it once more and show deliveries, timers and faults around a time, or all about an item."""
    if (at is None) == (item is None):
        raise click.UsageError("say what to show: --at TIME or --item HEX, one of the two")
    from p2pframe.sim.run import Job

    with _reported():
        from p2pframe.sim.replay import around, of_item, parse_id
        from p2pframe.sim.scenario import DEFAULT

        id = parse_id(item) if item is not None else b""
        fixed = _settings(settings)
        loaded = _load(scenario, variant, fixed, seed)
        if at is not None and at - window / 2 > loaded.duration:
            _fail(f"--at {at:g}s is after the end: the scenario runs for {loaded.duration:g} virtual seconds")
        job = Job(scenario, seed, variant or DEFAULT, tuple(fixed.items()), faults)
        with _progress(1, loaded.duration) as bar:
            tell = bar(0)
            result, lines = around(job, at, window, tell) if at is not None else of_item(job, id, tell)
    for line in lines:
        click.echo(line)
    click.echo(f"{len(lines)} lines; seed {result.seed}, trace {result.trace}", err=True)
    if not lines:
        sys.exit(1)


sim.add_command(replay_capture)


# --- what was asked for


def _settings(pairs: Sequence[str]) -> dict[str, str]:
    from p2pframe.errors import P2PFrameError

    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise P2PFrameError(f"--set {pair!r}: write a path and its value, such as hosts.nodes.count=100")
        found[key.strip()] = value.strip()
    return found


def _swept(texts: Sequence[str]) -> dict[str, list[str]]:
    from p2pframe.errors import P2PFrameError
    from p2pframe.sim.sweep import values_of

    found: dict[str, list[str]] = {}
    for text in texts:
        key, values = values_of(text)
        if key in found:
            raise P2PFrameError(f"--sweep {key} is there twice: give all its values at once")
        found[key] = values
    return found


def _load(path: str, variant: str | None, settings: dict[str, str], seed: int | None) -> Scenario:
    from p2pframe.sim.scenario import DEFAULT
    from p2pframe.sim.scenario_file import load_scenario

    return load_scenario(path, variant or DEFAULT, settings, seed)


def _variants(scenario: Scenario, one: str | None, several: str | None) -> list[str]:
    from p2pframe.config.wording import did_you_mean
    from p2pframe.errors import P2PFrameError

    if several is None:
        return [one or scenario.variant]
    if several == "all":
        return list(scenario.variants)
    names = list(dict.fromkeys(name.strip() for name in several.split(",")))
    for name in names:
        if name not in scenario.variants:
            choice = did_you_mean(name, scenario.variants)
            raise P2PFrameError(f"--variants: no variant is called {name!r}{choice}")
    return names


def _number(scenario: Scenario) -> int:
    return scenario.seed if isinstance(scenario.seed, int) else 1


# --- running


def _results(jobs: list[Job], at_once: int | None, dask: str | None, duration: float) -> list[RunResult]:
    from p2pframe.sim.sweep import run_here, run_on_dask

    with _progress(len(jobs), duration) as bar:
        tellers = [bar(index) for index in range(len(jobs))]
        if dask is not None:
            return run_on_dask(jobs, dask, lambda index, _: tellers[index](duration))
        if len(jobs) == 1:
            from p2pframe.sim.run import run as run_one

            # In this process: for a debugger and a profiler to look at.
            return [run_one(jobs[0], tellers[0])]
        return run_here(
            jobs,
            at_once or 0,
            lambda index, virtual: tellers[index](virtual),
            lambda index, _: tellers[index](duration),
        )


def _failed(result: RunResult) -> bool:
    return not result.ok or bool(result.failures)


def _check(
    jobs: list[Job], scenarios: Sequence[Scenario], at_once: int | None, duration: float
) -> tuple[list[RunResult], bool]:
    """The results of those that repeat, and whether that is all of them."""
    from p2pframe.sim.check import Different, check, refuse_unrepeatable
    from p2pframe.sim.fresh import Crew
    from p2pframe.sim.sweep import processors

    for scenario in scenarios:
        refuse_unrepeatable(scenario)
    crew = Crew()
    results: list[RunResult] = []
    with _progress(2 * len(jobs), duration) as bar:
        for index, job in enumerate(jobs):
            tellers = [bar(2 * index), bar(2 * index + 1)]

            def tell(number: int, virtual: float, tellers: list[Callable[[float], None]] = tellers) -> None:
                tellers[number](virtual)

            try:
                result = check(job, crew, at_once or processors(), tell)
            except Different as error:
                click.echo(f"{error}\nto look again: {job.command} --check", err=True)
            else:
                results.append(result)
                click.echo(
                    f"{result.scenario}: {result.variant}, seed {result.seed}: both runs are the same:"
                    f" {result.deliveries} deliveries, trace {result.trace}"
                )
            for teller in tellers:
                teller(duration)
    return results, len(results) == len(jobs)


def _tell(scenario: Scenario, results: list[RunResult], folder: OutputFolder | None) -> bool:
    """Print the report and write it; whether the comparisons hold."""
    from p2pframe.sim.report import Report, terminal, write

    report = Report(scenario.name, results, _compared(scenario, results), _called())
    terminal.show(report)
    if folder is not None:
        written = write(report, folder)
        click.echo(f"written: {', '.join(map(str, written.files))}", err=True)
        if written.left_out:
            click.echo(written.left_out, err=True)
    return report.ok


def _compared(scenario: Scenario, results: list[RunResult]) -> list[Judgement]:
    """The comparisons of those variants that were run; one run alone compares nothing."""
    from p2pframe.sim.expectations import compare

    run = dict.fromkeys(result.variant for result in results)
    chosen = [
        (number, comparison)
        for number, comparison in enumerate(scenario.compare)
        if comparison.of in run and comparison.to in run
    ]
    places = [scenario.places.get(f"compare.{number}", "") for number, _ in chosen]
    return compare([comparison for _, comparison in chosen], results, places)


def _shrink(broken: list[tuple[Job, RunResult]], at_once: int | None) -> None:
    from dataclasses import replace

    from p2pframe.sim.shrink import shrink
    from p2pframe.sim.sweep import processors, run_here

    if not broken:
        click.echo("nothing to shrink: no run failed")
        return
    job, failing = broken[0]
    if len(broken) > 1:
        click.echo(f"{len(broken)} runs failed; the first of them is shrunk: {job.command}", err=True)
    side_by_side = at_once or processors()
    shrunk = shrink(
        job,
        failing,
        lambda some: run_here(some, side_by_side),
        side_by_side,
        lambda runs, left: click.echo(f"shrinking: {runs} runs, {left} of {len(failing.faults)} faults left", err=True),
    )
    smaller = replace(job, faults=shrunk.faults)
    count = len(shrunk.faults)
    click.echo(
        f"shrunk in {shrunk.runs} runs: {count} fault{'' if count == 1 else 's'} of {len(failing.faults)} make it fail"
        if count
        else f"shrunk in {shrunk.runs} runs: it fails without any fault"
    )
    for fault in shrunk.result.faults:
        click.echo(f"  {fault.number}  {fault.time:g} s  {fault.text}")
    click.echo(f"to run it:\n  {smaller.command}")


@contextmanager
def _progress(runs: int, duration: float) -> Iterator[Callable[[int], Callable[[float], None]]]:
    """A bar on standard error: of virtual time, all runs together. Gives what makes the teller of one run."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f} of {task.total:.0f} virtual s"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task = bar.add_task(f"{runs} run{'' if runs == 1 else 's'}", total=max(runs * duration, 1e-9))

    def teller(_: int) -> Callable[[float], None]:
        reached = 0.0

        def tell(virtual: float) -> None:
            nonlocal reached
            bar.advance(task, max(0.0, virtual - reached))
            reached = max(reached, virtual)

        return tell

    with bar:
        yield teller


def _called() -> str:
    from shlex import join

    return join(["p2pframe", *sys.argv[1:]])


def _fail(text: str) -> NoReturn:
    click.echo(text, err=True)
    sys.exit(1)


@contextmanager
def _reported() -> Iterator[None]:
    """Errors that a user can act on are printed as they are, with exit status 1; Ctrl-C has its own."""
    from p2pframe.errors import P2PFrameError

    try:
        yield
    except P2PFrameError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        click.echo("interrupted: what was running has been ended", err=True)
        sys.exit(130)
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
