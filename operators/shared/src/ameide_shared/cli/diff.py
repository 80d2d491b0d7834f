"""`diff`: what applying a manifest would change in the cluster, by the API server's own dry run."""

from __future__ import annotations

import base64
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import click

from ameide_shared.check import check_manifest
from ameide_shared.cli.definition import Definition
from ameide_shared.cli.errors import DIFFERENT, OK, TROUBLE, Trouble, reported
from ameide_shared.cli.gather import find, gather, with_client
from ameide_shared.cli.inputs import overlaid, wanted
from ameide_shared.cli.options import cluster_options, settings_option
from ameide_shared.cli.output import GENERATED, emit, redacted, secret_text, to_yaml
from ameide_shared.cli.ownership import owned_by_update, without_dropped
from ameide_shared.cli.render import as_live
from ameide_shared.cli.simulate import simulate
from ameide_shared.confidential import cleaned
from ameide_shared.kube import apply
from ameide_shared.kube.client import ApiClient
from ameide_shared.kube.differ import differences
from ameide_shared.kube.errors import ApiError, ChildConflict
from ameide_shared.kube.resources import CONTROLLER_REVISION, SECRET, Manifest, key_of
from ameide_shared.plan import Ensure, EnsureSecret, FromSecret, Generated, Text
from ameide_shared.reconcile import utc_now
from ameide_shared.settings import load
from ameide_shared.stages import first_blocker
from ameide_shared.status import with_remedy
from ameide_shared.vocabulary import ANNOTATION_FIELD_SET, ANNOTATION_ROTATE_PASSWORD

_BOOKKEEPING: Final = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid")


@dataclass(slots=True)
class Changes:
    """What was found: unified diffs in order, and what could not be found out."""

    diffs: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    renewed: set[tuple[str, str, str]] = field(default_factory=set)  # namespace, name, key of renewed secret values


def diff_command(definition: Definition) -> click.Command:
    """The subcommand of an operator."""
    kind = definition.resource.kind

    @click.command("diff", short_help="Show what applying a manifest would change in the cluster.")
    @click.option("-f", "--file", "files", multiple=True, required=True, help="Manifest, directory, or - for stdin.")
    @click.option("-n", "--namespace", help="Namespace of manifests that name none. Default: the context's.")
    @click.option(
        "--stage",
        type=click.Choice(["final", "next"]),
        default="final",
        show_default=True,
        help="final: once migrations and the like have succeeded; next: what would be done at once.",
    )
    @settings_option
    @cluster_options
    def command(
        files: tuple[str, ...], namespace: str | None, stage: str, kubeconfig: str | None, context: str | None
    ) -> None:
        async def work(client: ApiClient, default_namespace: str) -> int:
            given = wanted(definition, files, namespace, default_namespace)
            settings = load(definition.settings)
            changes = Changes()
            for manifest in given.resources:
                await compare(client, definition, manifest, settings, changes, final=stage == "final")
            emit("".join(changes.diffs), "diff")
            for trouble in changes.troubles:
                click.echo(f"Error: {trouble}", err=True)
            if changes.troubles:
                return TROUBLE
            return DIFFERENT if changes.diffs else OK

        with reported():
            code = with_client(definition, kubeconfig, context, work)
        raise SystemExit(code)

    command.help = f"""Show what would change in the cluster if a {kind} were applied: a unified diff per child.

    Nothing is changed: the API server is asked by dry runs. What the {kind} waits for on the way (a migration, say) is
    taken to succeed. Values of Secrets are never shown.

    \b
    Exit code: 0 no differences; 1 differences; 2 for errors.
    """
    return command


async def compare(
    client: ApiClient, definition: Definition, manifest: Manifest, settings: Any, changes: Changes, *, final: bool
) -> None:
    """Add what a resource's children would change. Raises Trouble where the manifest itself cannot be applied."""
    title = f"{manifest['kind']} {key_of(manifest)}"
    seen = await gather(client, definition, manifest)
    if seen.live is not None:
        manifest = _applied_over(manifest, seen.live)
        problems = check_manifest(manifest, definition.model, seen.live)
        if problems:
            raise Trouble(f"{title} cannot be applied:" + "".join(f"\n  {problem}" for problem in problems))
    now = utc_now()
    end = simulate(definition, manifest, seen.objects, settings, now, seen.apis)
    plan = end.plan if final else end.plans[0]
    actions = end.wanted if final else [a for a in plan.actions if isinstance(a, (Ensure, EnsureSecret))]
    uid = str(end.resource["metadata"]["uid"])
    for action in actions:
        try:
            await _child(client, action, uid, changes)
        except ApiError as error:
            changes.troubles.append(f"{title}: {action.resource.kind} {action.key}: {cleaned(error.message)}")
        except ChildConflict as error:
            changes.troubles.append(f"{title}: {error.message}")
    for gone in end.removed if final else ():
        live = await find(client, gone.resource, gone.key)
        if live is not None:
            changes.diffs.append(unified(gone.reason, live, None))
    blocker = first_blocker(plan.stages)
    if final and blocker is not None:
        click.echo(f"note: {title} does not get Ready: {blocker.reason}: {with_remedy(blocker)}", err=True)


def _applied_over(manifest: Manifest, live: Manifest) -> dict[str, Any]:
    """The resource after an apply: the file's spec, and the labels and annotations of both."""
    result = as_live(manifest, [live])
    kept = {part: live["metadata"][part] for part in ("labels", "annotations") if live["metadata"].get(part)}
    return {**result, "metadata": overlaid(kept, result["metadata"])}


async def _child(client: ApiClient, action: Ensure | EnsureSecret, uid: str, changes: Changes) -> None:
    live = await find(client, action.resource, action.key)
    if live is not None and not apply.is_ours(live, uid):
        raise ChildConflict(action.resource, live)
    placeholders: frozenset[str] = frozenset()
    if isinstance(action, EnsureSecret):
        desired, placeholders = _filled(action, live, changes)
    else:
        desired = dict(action.manifest)
        if live is not None and action.create_only:
            return
    if live is not None and not differences(desired, live):
        return
    if live is not None and action.resource is CONTROLLER_REVISION:
        # Its data is compared byte by byte, so that no apply of the same data passes; only its number ever changes.
        changes.diffs.append(unified(action.reason, live, overlaid(live, desired)))
        return
    before, after = await apply.diff(client, desired)
    if before is not None and owned_by_update(before, client.field_manager):
        name = {"metadata": {"name": f"{action.key.name[:50].rstrip('-.')}-dry-run"}}
        fresh = await client.create(overlaid(desired, name), dry_run=True)
        after = without_dropped(before, after, fresh, client.field_manager)
    text = unified(action.reason, before, after, placeholders)
    if text:
        changes.diffs.append(text)


def _filled(action: EnsureSecret, live: Manifest | None, changes: Changes) -> tuple[dict[str, Any], frozenset[str]]:
    """The Secret as it would be written: live values where they stay, words for those that are not known yet."""
    held: Mapping[str, str] = (live or {}).get("data") or {}
    recorded = ((live or {}).get("metadata", {}).get("annotations") or {}).get(ANNOTATION_ROTATE_PASSWORD, "")
    data: dict[str, str] = {}
    placeholders = {GENERATED}
    for key, value in action.values.items():
        if isinstance(value, str):
            data[key] = base64.b64encode(value.encode()).decode()
            continue
        sources = [value] if isinstance(value, FromSecret) else []
        if isinstance(value, Text):
            sources = [part for part in value.parts if isinstance(part, FromSecret)]
        renew = any((source.namespace, source.name, source.key) in changes.renewed for source in sources)
        if isinstance(value, Generated):
            renew = recorded != action.rotation
        if key in held and not renew:
            data[key] = held[key]
            continue
        changes.renewed.add((action.key.namespace, action.key.name, key))
        placeholders.add(secret_text(value))
        data[key] = base64.b64encode(secret_text(value).encode()).decode()
    manifest: dict[str, Any] = {**action.manifest, "data": data}
    if action.rotation:
        token = {"metadata": {"annotations": {ANNOTATION_ROTATE_PASSWORD: action.rotation}}}
        manifest = overlaid(manifest, token)
    return manifest, frozenset(placeholders)


def unified(
    reason: str, before: Manifest | None, after: Manifest | None, placeholders: frozenset[str] = frozenset()
) -> str:
    """The unified diff of an object, None for one that is not there; empty if nothing that matters differs."""
    some = after if after is not None else before
    assert some is not None, "an object that neither is nor was"
    name = f"{some['kind']} {key_of(some)}"
    left, right = (_lines(item, placeholders) if item is not None else [] for item in (before, after))
    old = name if before is not None else "/dev/null"
    new = name if after is not None else "/dev/null"
    lines = list(difflib.unified_diff(left, right, f"{old} (live)", f"{new} (wanted: {reason})"))
    return "".join(lines)


def _lines(manifest: Manifest, placeholders: frozenset[str]) -> list[str]:
    """What of an object matters to people, as lines of YAML."""
    metadata = {key: value for key, value in manifest["metadata"].items() if key not in _BOOKKEEPING}
    annotations = metadata.pop("annotations", None) or {}
    if set(annotations) - {ANNOTATION_FIELD_SET}:
        metadata["annotations"] = {key: annotations[key] for key in annotations if key != ANNOTATION_FIELD_SET}
    head = {"apiVersion": manifest["apiVersion"], "kind": manifest["kind"], "metadata": _sorted(metadata)}
    rest = {k: _sorted(v) for k, v in sorted(manifest.items()) if k not in (*head, "status")}
    shown = {**head, **rest}
    if manifest["kind"] == SECRET.kind:
        shown = redacted(shown, placeholders)
    return to_yaml(shown).splitlines(keepends=True)


def _sorted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value
