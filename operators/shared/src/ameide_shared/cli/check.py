"""`check`: schema, rules and the operator's policies for manifests, offline; the exit code is for pull requests."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click

from ameide_shared.check import Finding, check_text, items_of
from ameide_shared.cli.definition import Definition
from ameide_shared.cli.errors import DIFFERENT, OK, reported
from ameide_shared.cli.inputs import files_of, read_text
from ameide_shared.cli.options import companion_option, companions, settings_option
from ameide_shared.cli.output import emit, to_json
from ameide_shared.cli.render import surroundings
from ameide_shared.kube.resources import Manifest, key_of
from ameide_shared.reasons import Reason
from ameide_shared.reconcile import utc_now
from ameide_shared.settings import load
from ameide_shared.spec.documents import read_documents
from ameide_shared.spec.problems import Problem, path_of
from ameide_shared.stages import Stage, State

_FIELD = re.compile(r"(?P<field>spec(?:[.\[][\w.\[\]-]+)?): (?P<rest>.+)", re.DOTALL)
_STEP = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


@dataclass(frozen=True, slots=True)
class Judged:
    """A finding and the reason under which the operator would report it."""

    finding: Finding
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """The JSON shape that programs read."""
        return {**self.finding.as_dict(), "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was checked, and everything that is wrong."""

    checked: int
    skipped: int
    findings: tuple[Judged, ...]

    def as_dict(self) -> dict[str, Any]:
        """The JSON shape that programs read: ok, checked, skipped, findings."""
        return {
            "ok": not self.findings,
            "checked": self.checked,
            "skipped": self.skipped,
            "findings": [judged.as_dict() for judged in self.findings],
        }


def check_command(definition: Definition) -> click.Command:
    """The subcommand of an operator."""

    @click.command("check", short_help="Judge manifests offline: schema, rules and policies.")
    @click.option("-f", "--file", "files", multiple=True, required=True, help="Manifest, directory, or - for stdin.")
    @click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
    @click.option("--policies/--no-policies", default=True, help="Judge by the operator's settings too. Default: yes.")
    @companion_option(definition)
    @settings_option
    def command(files: tuple[str, ...], output: str, policies: bool, companion: str | None) -> None:
        with reported():
            texts = [(path, read_text(path)) for given in files for path in files_of(given)]
            settings = load(definition.settings) if policies else None
            beside = companions(definition, companion, settings) if policies else []
            if policies and definition.companion is not None and not beside:
                option, file = definition.companion.option, definition.companion.default(settings)
                click.echo(f"not judged by any policy: there is no {option} FILE, and no {file}", err=True)
            verdict = judge(definition, texts, settings, utc_now(), beside)
        emit(
            to_json(verdict.as_dict()) if output == "json" else as_text(verdict), "json" if output == "json" else "text"
        )
        raise SystemExit(DIFFERENT if verdict.findings else OK)

    command.help = f"""Judge manifests without a cluster.

    Each {definition.resource.kind} gets the verdict that the API server would give it (schema, unknown fields, rules),
    and that of the operator's settings (which images may run, which profiles there are). Objects of other kinds are
    skipped; Namespaces among them say by their labels whose the resources are.

    \b
    JSON: {{ok, checked, skipped, findings: [{{file, document, line, object, field, message, remedy, reason}}]}}
    Exit code: 0 all well; 1 findings; 2 for errors, such as a file that cannot be read.
    """
    return command


def judge(
    definition: Definition,
    texts: Iterable[tuple[str, str]],
    settings: Any | None,
    now: datetime,
    beside: Iterable[Manifest] = (),
) -> Verdict:
    """The verdict on (file name, YAML text) pairs; without settings, by schema and rules alone.

    `beside` are objects that the plan is given besides what it takes to be there.
    """
    texts = list(texts)
    others = [*beside, *(found for name, text in texts for found in _namespaces(text, name))]
    checked = skipped = 0
    findings: list[Judged] = []
    for name, text in texts:
        report = check_text(text, [definition.model], name)
        checked += report.checked
        skipped += report.skipped
        findings += [Judged(finding, Reason.InvalidSpec.value) for finding in report.findings]
        if settings is not None:
            faulty = {finding.document for finding in report.findings}
            findings += _by_policies(definition, text, name, settings, now, faulty, others)
    return Verdict(checked, skipped, tuple(sorted(findings, key=_place)))


def as_text(verdict: Verdict) -> str:
    """A line per finding, as compilers write them, and a summary."""
    lines = [str(judged.finding) for judged in verdict.findings]
    count = f"{len(lines)} problem{'' if len(lines) == 1 else 's'}" if lines else "no problems"
    skipped = f", {verdict.skipped} of other kinds skipped" if verdict.skipped else ""
    return "\n".join([*lines, f"{verdict.checked} checked{skipped}: {count}"]) + "\n"


def _by_policies(
    definition: Definition,
    text: str,
    name: str,
    settings: Any,
    now: datetime,
    faulty: set[int],
    others: Sequence[Manifest],
) -> list[Judged]:
    """What a plan would call hopeless although everything around the resource is well."""
    found = []
    for document in read_documents(text, name):
        if document.problem is not None or document.index in faulty:
            continue
        for place, item in items_of(document.manifest):
            if (
                item.get("kind") != definition.resource.kind
                or item.get("apiVersion") != definition.resource.api_version
            ):
                continue
            manifest = _admitted(item)
            objects = surroundings(definition, manifest, others)
            plan = definition.plan(manifest, definition.observed(objects, definition.apis), settings, now)
            for verdict in (part for stage in plan.stages for part in stage.parts or (stage,)):
                for problem in _problems(verdict) if verdict.state is State.STALLED else ():
                    line = document.line_of((*place, *problem.loc))
                    title = f"{item['kind']} {key_of(manifest)}"
                    found.append(Judged(Finding(name, document.index, line, title, problem), verdict.reason.value))
    return found


def _admitted(item: dict[str, Any]) -> dict[str, Any]:
    """A manifest as a plan can read it: with a name and a namespace."""
    metadata = item["metadata"]
    name = metadata.get("name") or f"{metadata.get('generateName')}xxxxx"
    written = {**metadata, "name": name, "namespace": metadata.get("namespace") or "default"}
    return {key: value for key, value in item.items() if key != "status"} | {"metadata": written}


def _namespaces(text: str, name: str) -> Iterator[dict[str, Any]]:
    """The Namespaces that a text holds."""
    for document in read_documents(text, name):
        for _, item in items_of(document.manifest):
            if isinstance(item, dict) and item.get("kind") == "Namespace" and item.get("apiVersion") == "v1":
                yield item


def _problems(stage: Stage) -> Sequence[Problem]:
    """What a stage has against fields of the spec: one by one, or as its message says it."""
    return stage.problems or (_problem(stage),)


def _problem(stage: Stage) -> Problem:
    """A stage's message names the field first, as in `spec.image: …`."""
    match = _FIELD.match(stage.message)
    if match is None:
        return Problem("spec", stage.message, stage.remedy, ("spec",))
    loc = tuple(int(index) if index else step for index, step in _STEP.findall(match["field"]))
    return Problem(path_of(loc), match["rest"], stage.remedy, loc)


def _place(judged: Judged) -> tuple[str, int, str]:
    finding = judged.finding
    return finding.file, finding.line, finding.problem.field
