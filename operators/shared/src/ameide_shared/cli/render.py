"""`render`: the children that a manifest compiles to, offline, as YAML; every object with the reason for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, Literal

import click

from ameide_shared.cli.definition import Definition
from ameide_shared.cli.errors import DIFFERENT, OK, reported
from ameide_shared.cli.inputs import Given, by_key, overlaid, read, wanted, with_others
from ameide_shared.cli.options import companion_option, companions, settings_option
from ameide_shared.cli.output import comment, emit, shown, to_yaml
from ameide_shared.cli.simulate import NO_UID, simulate
from ameide_shared.confidential import quieted
from ameide_shared.failures import describe
from ameide_shared.kube.differ import differences
from ameide_shared.kube.resources import SECRET, Manifest, key_of
from ameide_shared.plan import Action, Ensure, EnsureSecret, Plan
from ameide_shared.reconcile import utc_now
from ameide_shared.settings import load
from ameide_shared.snapshot import Snapshot
from ameide_shared.stages import Stage, first_blocker
from ameide_shared.status import with_remedy
from ameide_shared.vocabulary import LABEL_TENANT

WhichStage = Literal["final", "next"]
_SERVER_FIELDS: Final = ("uid", "generation", "resourceVersion", "creationTimestamp", "deletionTimestamp", "finalizers")


def render_command(definition: Definition) -> click.Command:
    """The subcommand of an operator."""
    kind = definition.resource.kind

    @click.command("render", short_help="Show the children that a manifest compiles to, offline.")
    @click.option("-f", "--file", "files", multiple=True, required=True, help="Manifest, directory, or - for stdin.")
    @click.option(
        "--observed", multiple=True, help="File or directory with objects as kubectl get -o yaml prints them."
    )
    @click.option("-n", "--namespace", help="Namespace of manifests that name none. Default: default.")
    @click.option("--tenant", help="Tenant that the namespace is taken to be of. Default: the one that the spec names.")
    @click.option(
        "--stage",
        type=click.Choice(["final", "next"]),
        help="final: all children, everything they wait for taken to happen. next: what would be done now. "
        "Default: final; with --observed, next.",
    )
    @companion_option(definition)
    @settings_option
    def command(
        files: tuple[str, ...],
        observed: tuple[str, ...],
        namespace: str | None,
        tenant: str | None,
        stage: WhichStage | None,
        companion: str | None,
    ) -> None:
        with reported():
            settings = load(definition.settings)
            beside = companions(definition, companion, settings)
            given = with_others(wanted(definition, files, namespace), beside)
            seen = read(definition, observed, namespace or "default") if observed else None
            seen = with_others(seen, beside) if seen is not None else None
            for kinds in (given.unknown, seen.unknown if seen else ()):
                for what in sorted(set(kinds)):
                    click.echo(f"note: {what} is not a kind that the operator looks at; left out", err=True)
            code = OK
            for manifest in given.resources:
                which: WhichStage = stage or ("next" if seen else "final")
                text, blocker = render(definition, manifest, settings, utc_now(), given, seen, which, tenant)
                emit(text)
                if blocker is not None and which == "final":
                    title = f"{manifest['kind']} {key_of(manifest)}"
                    click.echo(f"{title} does not get Ready: {blocker.reason}: {with_remedy(blocker)}", err=True)
                    code = DIFFERENT
        raise SystemExit(code)

    command.help = f"""Show the children that a {kind} compiles to, offline, as YAML.

    Without --observed, what the {kind} expects of others is taken to be there and well, and every Job to succeed: all
    children are shown, in the order in which they are made. With --observed, the plan for exactly these objects is
    shown: each action with its reason. Values of Secrets are never shown.

    \b
    Exit code: 0; 1 where something keeps the {kind} from getting Ready even so; 2 for errors.
    """
    return command


def render(
    definition: Definition,
    manifest: Manifest,
    settings: Any,
    now: datetime,
    given: Given,
    seen: Given | None,
    stage: WhichStage,
    tenant: str | None,
) -> tuple[str, Stage | None]:
    """The YAML, and what keeps the resource from getting Ready."""
    if seen is None:
        objects = surroundings(definition, manifest, given.others, tenant)
    else:
        objects = [dict(each) for each in quieted([*seen.others, *seen.resources], definition.credentials)]
        manifest = as_live(manifest, seen.resources)
    if stage == "final":
        end = simulate(definition, manifest, objects, settings, now)
        return bundle_yaml(manifest, end.wanted, end.plan), first_blocker(end.plan.stages)
    if "uid" not in manifest["metadata"]:
        manifest = {**manifest, "metadata": {**manifest["metadata"], "uid": NO_UID, "generation": 1}}
    plan = definition.plan(manifest, definition.observed(objects, definition.apis), settings, now)
    return plan_yaml(manifest, plan, Snapshot(objects)), first_blocker(plan.stages)


def surroundings(
    definition: Definition, manifest: Manifest, others: Sequence[Manifest], tenant: str | None = None
) -> list[dict[str, Any]]:
    """What a resource is taken to find: its namespace, what it expects of others, and what stands in the same files."""
    named = ((manifest.get("spec") or {}).get("definitionRef") or {}).get("tenantId")
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": manifest["metadata"]["namespace"], "labels": {LABEL_TENANT: tenant or named or "example"}},
    }
    found = {key: dict(item) for key, item in by_key([namespace, *definition.assumed(manifest)]).items()}
    for key, item in by_key(others).items():
        found[key] = overlaid(found.get(key, {}), item)
    return list(found.values())


def as_live(manifest: Manifest, seen: Iterable[Manifest]) -> dict[str, Any]:
    """The manifest with what the API server and the operator have written to the observed resource of its name."""
    live = next((item for item in seen if key_of(item) == key_of(manifest)), None)
    if live is None:
        return dict(manifest)
    written = {field: live["metadata"][field] for field in _SERVER_FIELDS if field in live["metadata"]}
    result = {**manifest, "metadata": {**manifest["metadata"], **written}}
    if live.get("spec") != manifest.get("spec"):
        result["metadata"]["generation"] = int(written.get("generation", 0)) + 1
    return result | ({"status": live["status"]} if "status" in live else {})


def bundle_yaml(manifest: Manifest, wanted: Sequence[Ensure | EnsureSecret], plan: Plan) -> str:
    """Every child, and at the end how the stages stand."""
    what = f"{manifest['kind']} {key_of(manifest)}"
    documents = [comment(f"{action.reason}") + to_yaml(shown(action)) for action in wanted]
    head = (
        f"{what}: {len(wanted)} children, in the order in which they are made. Uids, versions and digests that only a"
    )
    return comment(f"{head}\ncluster could tell are made up.") + "---\n" + "---\n".join([*documents, _stages(plan)])


def plan_yaml(manifest: Manifest, plan: Plan, objects: Snapshot) -> str:
    """Every action in order, and at the end how the stages stand."""
    head = comment(f"{manifest['kind']} {key_of(manifest)}: {len(plan.actions)} actions, in order.")
    parts = [head]
    for number, action in enumerate(plan.actions, 1):
        note = comment(f"{number}. {describe(action)}{_change(action, objects)}")
        parts.append(note + (to_yaml(shown(action)) if isinstance(action, (Ensure, EnsureSecret)) else ""))
    return "---\n".join([*parts, _stages(plan)])


def _change(action: Action, objects: Snapshot) -> str:
    """What carrying out an action would change, as far as this can be told."""
    if not isinstance(action, (Ensure, EnsureSecret)):
        return ""
    live = objects.get(action.resource, action.key.namespace, action.key.name)
    if live is None:
        return "\nis created"
    if isinstance(action, EnsureSecret) or action.resource is SECRET:
        return "\nis there"
    if action.create_only:
        return "\nis there, and is left as it is"
    found = differences(action.manifest, live)
    return "".join(f"\nchanges {difference}" for difference in found) or "\nis there, as wanted"


def _stages(plan: Plan) -> str:
    lines = [
        f"{stage.condition or 'Accepted'}: {stage.state.value}, {stage.reason}"
        + (f": {with_remedy(stage)}" if stage.message else "")
        for stage in plan.stages
    ]
    return comment("Stages:\n" + "\n".join(f"  {line}" for line in lines)) if lines else ""
