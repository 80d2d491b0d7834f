"""The benchmark's command line: `python -m bench`, or `make bench`."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path

import click
from rich.console import Console

from ameide_dev import tools
from bench import report, scenarios
from bench.subject import OWN_CRDS, ROOT, Contestant, Subject, default_environment

OURS = "domain-operator"
PROGRAM = ROOT / ".venv" / "bin" / OURS


def _pairs(values: tuple[str, ...], option: str) -> dict[str, str]:
    pairs = {}
    for value in values:
        name, equals, rest = value.partition("=")
        if not equals or not name or not rest:
            raise click.BadParameter(f"{value!r}: expected NAME=VALUE", param_hint=option)
        pairs[name] = rest
    return pairs


def contestants(
    operators: tuple[str, ...],
    crds: tuple[str, ...],
    domains: tuple[str, ...],
    only_others: bool,
    program: Path = PROGRAM,
) -> list[Contestant]:
    """Who is measured: ours first, then the others as named. Raises click.BadParameter."""
    others, folders = _pairs(operators, "--operator"), _pairs(crds, "--crds")
    patches = {name: json.loads(text) for name, text in _pairs(domains, "--domain").items()}
    known = {OURS, *others}
    for name in (*folders, *patches):
        if name not in known:
            raise click.BadParameter(f"{name!r} names no operator; there are {', '.join(sorted(known))}")
    ours = Contestant(OURS, f"{program.absolute()} run", OWN_CRDS, patches.get(OURS, {}), default_environment())
    rest = [
        Contestant(name, command, Path(folders.get(name, OWN_CRDS)), patches.get(name, {}))
        for name, command in others.items()
    ]
    return rest if only_others else [ours, *rest]


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--domains", "size", default=100, help="How many Domains.")
@click.option("--rounds", default=1, help="How often; tables show medians. Five make seconds comparable.")
@click.option("--rest", default=60.0, help="Seconds at rest.")
@click.option(
    "--scenario", "chosen", multiple=True, type=click.Choice([*scenarios.ALL]), help="Only these (default: all)."
)
@click.option("--program", default=PROGRAM, type=click.Path(path_type=Path, exists=True), help="Ours, elsewhere.")
@click.option("--operator", "operators", multiple=True, metavar="NAME=COMMAND", help="Measure this too, by KUBECONFIG.")
@click.option("--crds", multiple=True, metavar="NAME=DIR", help="The definition of Domain that an operator takes.")
@click.option("--domain", "patches", multiple=True, metavar="NAME=JSON", help="Merge patch over its Domains.")
@click.option("--database", is_flag=True, help="Give each Domain a database by CloudNativePG, and migrations.")
@click.option("--only-others", is_flag=True, help="Leave our own operator out.")
@click.option("--out", default=ROOT / "out" / "bench.json", type=click.Path(path_type=Path), help="JSON file.")
def main(
    size: int,
    rounds: int,
    rest: float,
    chosen: tuple[str, ...],
    program: Path,
    operators: tuple[str, ...],
    crds: tuple[str, ...],
    patches: tuple[str, ...],
    database: bool,
    only_others: bool,
    out: Path,
) -> None:
    """Measure Domain operators side by side, each round on a control plane of its own.

    Counted from outside: requests by the API server's audit log, processor and memory by /proc, Ready by watching.
    """
    field = contestants(operators, crds, patches, only_others, program)
    plan = scenarios.Plan(size=size, rest=rest, drifts=min(20, size), singles=min(20, size))
    selected = [name for name in scenarios.ALL if not chosen or name in chosen]
    if "cold" not in selected and set(selected) - {"single"}:
        selected.insert(0, "cold")  # the others work on the Domains that it leaves
    console, progress = Console(width=140), Console(stderr=True)
    for tool in ("kube", "kwok"):
        tools.find(tool)
    results: dict[str, list[scenarios.Result]] = {contestant.name: [] for contestant in field}
    for number in range(rounds):
        # Whoever comes second finds warmer file caches: take turns.
        for contestant in field if number % 2 == 0 else reversed(field):
            progress.print(f"round {number + 1} of {rounds}: {contestant.name}", highlight=False)
            with tempfile.TemporaryDirectory(prefix="ameide-bench-") as folder:
                results[contestant.name] += _measure(
                    Subject(contestant, Path(folder), database=database), selected, plan, progress
                )
            commands = {one.name: one.command for one in field}
            report.save(out, report.document(results, commands, dataclasses.asdict(plan) | {"database": database}))
    report.show(results, console)
    console.print(f"every figure: {out}", highlight=False, soft_wrap=True)


def _measure(subject: Subject, selected: list[str], plan: scenarios.Plan, progress: Console) -> list[scenarios.Result]:
    done = []
    with subject:
        try:
            for name in selected:
                result = scenarios.ALL[name](subject, plan)
                progress.print(f"  {name}: {result.wall:.1f} s, {result.requests.writes} writes", highlight=False)
                done.append(result)
                subject.server.check()
        except Exception:
            progress.print(
                f"  {subject.contestant.name} failed; its log ends with\n{subject.server.tail(30)}", highlight=False
            )
            raise
    return done


if __name__ == "__main__":
    main()
