"""`explain`: why a resource is not Ready, from the first blocker down, with what can be done about it."""

from __future__ import annotations

import click
from rich.console import Console

from ameide_shared.cli.definition import Definition
from ameide_shared.cli.errors import DIFFERENT, OK, Trouble, reported
from ameide_shared.cli.explanation import collect, explanation
from ameide_shared.cli.gather import with_client
from ameide_shared.cli.narrative import narrative
from ameide_shared.cli.options import cluster_options, settings_option
from ameide_shared.cli.output import emit, to_json
from ameide_shared.kube.client import ApiClient
from ameide_shared.kube.resources import ObjectKey
from ameide_shared.reconcile import utc_now
from ameide_shared.settings import load


def explain_command(definition: Definition) -> click.Command:
    """The subcommand of an operator."""
    kind = definition.resource.kind

    @click.command("explain", short_help=f"Say why a {kind} is not Ready, and what to do about it.")
    @click.argument("name")
    @click.option("-n", "--namespace", help="Default: the context's.")
    @click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
    @settings_option
    @cluster_options
    def command(name: str, namespace: str | None, output: str, kubeconfig: str | None, context: str | None) -> None:
        async def work(client: ApiClient, default_namespace: str) -> int:
            where, _, bare = name.rpartition("/")
            if where and namespace and where != namespace:
                raise Trouble(f"{name} names namespace {where}, and --namespace {namespace}; leave out one of them")
            key = ObjectKey(where or namespace or default_namespace, bare)
            now = utc_now()
            found = await collect(client, definition, key, load(definition.settings), now)
            if found is None:
                raise Trouble(f"there is no {kind} {key}; see kubectl get {definition.resource} -A")
            told = explanation(definition, found, now)
            if output == "json":
                emit(to_json(told), "json")
            else:
                Console(highlight=False, soft_wrap=True).print(narrative(told, now))
            return OK if told["ready"] else DIFFERENT

        with reported():
            code = with_client(definition, kubeconfig, context, work)
        raise SystemExit(code)

    command.help = f"""Say why a {kind} is not Ready, and what to do about it.

    NAME may be NAMESPACE/NAME. It reads the status that the operator wrote, the children, their pods and recent Events.
    Where the operator has not seen the {kind} (or its last change) yet, the plan is made here, and the operator's Lease
    tells whether it runs.

    \b
    JSON: {{kind, namespace, name, ready, reason, message, source: status|plan, generation, observedGeneration, paused,
      deleting, blocker: null|{{reason, object, message, remedy, since, retryAt, cause, advice}},
      chain: [{{condition, status, reason, message, since}}],
      children: [{{apiVersion, kind, namespace, name, ready, reason, cause, remedy}}],
      events: [{{time, type, reason, message, object, count}}],
      operator: {{running: true|false|null, holder, namespace, renewed}}, advice: [text]}}
    Exit code: 0 it is Ready; 1 it is not; 2 it could not be found out.
    """
    return command
