"""Credentials of model and tools: an ExternalSecret for each, and whether the Secrets are there with all their keys."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from agent_operator.grants import CREDENTIALS_PATH
from agent_operator.plan.context import Context
from agent_operator.policy.credentials import fill
from agent_operator.policy.subject import Subject
from agent_operator.policy.verdict import NeededCredential
from ameide_shared.builders.identity import child_metadata, recommended_labels
from ameide_shared.compile.context import annotation
from ameide_shared.compile.surroundings import unwanted
from ameide_shared.kube.resources import DEPLOYMENT, EXTERNAL_SECRET, SECRET, Manifest
from ameide_shared.plan import Action, Ensure
from ameide_shared.reasons import Reason
from ameide_shared.redact import scrub
from ameide_shared.revisions import PodTemplate
from ameide_shared.stages import Stage, State, done
from ameide_shared.status import parse_time
from ameide_shared.vocabulary import ANNOTATION_CONFIG_DIGEST

SECRETS_READY: Final = "SecretsReady"
VOLUME: Final = "credentials"
ANNOTATION_VARIABLES: Final = "ameide.io/credential-variables"
"""On pod templates: the variables that carry credentials, with commas between; the author's own are not among them."""
NOTICED_SECONDS: Final = 60.0
"""Within so many seconds external-secrets says something of a new ExternalSecret, if it runs."""
_ORDER: Final = (
    Reason.SecretStoreNotConfigured,
    Reason.APINotInstalled,
    Reason.SecretNotFound,
    Reason.SecretKeyMissing,
    Reason.SecretNotSynced,
    Reason.SecretsSyncing,
)
_STATES: Final[Mapping[Reason, State]] = {
    Reason.SecretStoreNotConfigured: State.FAILED,
    Reason.APINotInstalled: State.WAITING,
    Reason.SecretNotFound: State.WAITING,
    Reason.SecretKeyMissing: State.WAITING,
    Reason.SecretNotSynced: State.FAILED,
    Reason.SecretsSyncing: State.PROGRESSING,
}


def secret_name(ctx: Context, needed: NeededCredential) -> str:
    """The Secret that holds a credential: somebody else's, or the target of our ExternalSecret."""
    return needed.secret_name or target_name(ctx.primitive.child_name, needed.name)


def target_name(child: str, credential: str) -> str:
    """The name of an ExternalSecret and of the Secret that it makes.

    external-secrets takes over a Secret of that name that has no controller, values and all, so the name is one that
    nobody gives to a Secret of theirs.
    """
    return f"{child}-{credential}-{hashlib.sha256(f'{child}/{credential}'.encode()).hexdigest()[:8]}"


def external_secrets(
    ctx: Context, wanted: Iterable[tuple[Subject, NeededCredential]], *, keep_others: bool
) -> list[Action]:
    """An ExternalSecret for each credential of the store, and that those which nobody needs go.

    `keep_others`: what runs may need more than is known here.
    """
    if EXTERNAL_SECRET not in ctx.observed.apis:
        return []
    needed = {secret_name(ctx, one): (subject, one) for subject, one in wanted if one.secret_name is None}
    actions: list[Action] = []
    if ctx.settings.secret_store.name:
        actions += [
            Ensure(_external_secret(ctx, name, *needed[name]), f"credential {needed[name][1].name}")
            for name in sorted(needed)
        ]
    if keep_others:
        return actions
    return [*actions, *unwanted(ctx, EXTERNAL_SECRET, "no tool and no model needs it", keep=set(needed))]


def secrets_stage(ctx: Context, needed: Sequence[NeededCredential]) -> Stage:
    """Whether each credential is there, or the first kind of trouble with all that have it."""
    if not needed:
        return done(SECRETS_READY, Reason.NotRequired, "neither the model nor a tool takes credentials")
    troubles: dict[Reason, list[tuple[str, str, str]]] = {}
    stale = []
    for one in needed:
        trouble = _trouble(ctx, one)
        if trouble is not None:
            reason, message, remedy = trouble
            troubles.setdefault(reason, []).append((f"Secret {secret_name(ctx, one)}", message, remedy))
        elif one.secret_name is None and (problem := _sync_problem(ctx, one)):
            stale.append(problem)
    for reason in _ORDER:
        if found := troubles.get(reason):
            return Stage(
                SECRETS_READY,
                _STATES[reason],
                reason,
                "; ".join(message for _, message, _ in found),
                object=found[0][0],
                remedy="; ".join(dict.fromkeys(remedy for _, _, remedy in found if remedy)),
            )
    if stale:
        message = f"the credentials are there, but cannot be renewed: {'; '.join(stale)}"
        return done(SECRETS_READY, Reason.SecretNotSynced, message, degraded=True)
    return done(SECRETS_READY, Reason.SecretsReady)


def volumes(ctx: Context, needed: Sequence[NeededCredential]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The volume of the credentials that are delivered as files, and its mount."""
    sources = [
        {
            "secret": {
                "name": secret_name(ctx, one),
                "items": [{"key": value.key, "path": f"{one.name}/{value.key}"} for value in one.values],
            }
        }
        for one in needed
        if one.delivery == "File"
    ]
    if not sources:
        return [], []
    volume = {"name": VOLUME, "projected": {"defaultMode": 0o440, "sources": sources}}
    return [volume], [{"name": VOLUME, "mountPath": CREDENTIALS_PATH, "readOnly": True}]


def variables(ctx: Context, needed: Sequence[NeededCredential]) -> list[dict[str, Any]]:
    """The variables of the credentials that are delivered so."""
    return [
        {"name": value.env, "valueFrom": {"secretKeyRef": {"name": secret_name(ctx, one), "key": value.key}}}
        for one in needed
        if one.delivery == "Env"
        for value in one.values
    ]


def config_digest(ctx: Context, template: PodTemplate) -> str:
    """The digest (10 hex digits) of the values of the credentials that a template consumes; empty if there are none.

    While one is missing, the pods keep the digest that they have: that it is gone rolls nothing.
    """
    wanted = _consumed(template)
    if not wanted:
        return ""
    found: dict[str, Any] = {}
    for name, keys in wanted.items():
        live = ctx.observed.objects.get(SECRET, ctx.primitive.namespace, name)
        digests: Mapping[str, str] = (live or {}).get("digests") or {}
        if not keys <= set(digests):
            main = ctx.observed.objects.get(DEPLOYMENT, ctx.primitive.namespace, ctx.primitive.child_name)
            running = ((main or {}).get("spec") or {}).get("template") or {}
            return annotation(running, ANNOTATION_CONFIG_DIGEST)
        found[name] = {key: digests[key] for key in sorted(keys)}
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:10]


def _consumed(template: PodTemplate) -> dict[str, set[str]]:
    """The Secrets of credentials that a template names, each with its keys; those of the author's own are not meant."""
    wanted: dict[str, set[str]] = {}
    for volume in template["spec"].get("volumes") or ():
        if volume["name"] == VOLUME:
            for source in volume["projected"]["sources"]:
                keys = {item["key"] for item in source["secret"]["items"]}
                wanted.setdefault(source["secret"]["name"], set()).update(keys)
    ours = annotation(template, ANNOTATION_VARIABLES).split(",")
    for variable in template["spec"]["containers"][0].get("env") or ():
        if variable["name"] in ours:
            reference = variable["valueFrom"]["secretKeyRef"]
            wanted.setdefault(reference["name"], set()).add(reference["key"])
    return wanted


def _external_secret(ctx: Context, name: str, subject: Subject, needed: NeededCredential) -> dict[str, Any]:
    store = ctx.settings.secret_store
    key = needed.remote_key or fill(store.remote_key, subject, needed.name)
    labels = recommended_labels(ctx.primitive)
    return {
        "apiVersion": EXTERNAL_SECRET.api_version,
        "kind": EXTERNAL_SECRET.kind,
        "metadata": child_metadata(ctx.primitive, name),
        "spec": {
            "refreshInterval": f"{store.refresh_seconds}s",
            "secretStoreRef": {"name": store.name, "kind": store.kind},
            # By these labels we see the Secret; it goes with its ExternalSecret, and that with the Agent.
            "target": {"name": name, "creationPolicy": "Owner", "template": {"metadata": {"labels": labels}}},
            "data": [
                {
                    "secretKey": value.key,
                    "remoteRef": {"key": key} | ({"property": value.property} if value.property else {}),
                }
                for value in needed.values
            ],
        },
    }


def _trouble(ctx: Context, needed: NeededCredential) -> tuple[Reason, str, str] | None:
    name = secret_name(ctx, needed)
    users = ", ".join(needed.users)
    live = ctx.observed.objects.get(SECRET, ctx.primitive.namespace, name)
    missing = [value.key for value in needed.values if value.key not in ((live or {}).get("digests") or {})]
    if live is not None and not missing:
        return None
    if needed.secret_name is not None:
        if live is None:
            message = f"Secret {name}, which holds credential {needed.name} of {users}, does not exist"
            return Reason.SecretNotFound, message, f"create it with the keys {', '.join(v.key for v in needed.values)}"
        message = f"Secret {name} lacks {', '.join(missing)}, which credential {needed.name} of {users} consists of"
        return Reason.SecretKeyMissing, message, "add the keys"
    if EXTERNAL_SECRET not in ctx.observed.apis:
        message = f"credential {needed.name} of {users} is in the secret store, but the cluster has no ExternalSecrets"
        remedy = "install external-secrets, or have the policy name a Secret (secretName)"
        return Reason.APINotInstalled, message, remedy
    if not ctx.settings.secret_store.name:
        message = f"credential {needed.name} of {users} is in the secret store, and the operator's settings name none"
        remedy = "set secretStore.name in the operator's settings, or have the policy name a Secret (secretName)"
        return Reason.SecretStoreNotConfigured, message, remedy
    problem = _sync_problem(ctx, needed)
    if problem:
        remedy = (
            f"its Events name the cause (kubectl describe externalsecret {name} -n {ctx.primitive.namespace}); mend "
        )
        return Reason.SecretNotSynced, problem, f"{remedy}the entry in the secret store, or the store's own access"
    if _is_unnoticed(ctx, name):
        message = (
            f"external-secrets has taken no note of ExternalSecret {name}, for credential {needed.name} of {users}"
        )
        return Reason.SecretsSyncing, message, "see whether external-secrets runs, and looks after this namespace"
    return Reason.SecretsSyncing, f"credential {needed.name} of {users} is being fetched from the secret store", ""


def _is_unnoticed(ctx: Context, name: str) -> bool:
    """Whether nobody has said anything of an ExternalSecret for so long that nobody may be there."""
    live = ctx.observed.objects.get(EXTERNAL_SECRET, ctx.primitive.namespace, name)
    if live is None or _condition(live):
        return False
    created = live["metadata"].get("creationTimestamp")
    return bool(created) and ctx.now >= parse_time(created) + timedelta(seconds=NOTICED_SECONDS)


def _sync_problem(ctx: Context, needed: NeededCredential) -> str:
    """What external-secrets says is wrong with a credential; empty if it is well or has said nothing yet."""
    name = secret_name(ctx, needed)
    live = ctx.observed.objects.get(EXTERNAL_SECRET, ctx.primitive.namespace, name)
    ready = _condition(live or {})
    if ready.get("status") != "False":
        return ""
    return f"ExternalSecret {name}: {scrub(ready.get('message') or ready.get('reason') or 'not synced')}"


def _condition(manifest: Manifest) -> Mapping[str, Any]:
    conditions = (manifest.get("status") or {}).get("conditions") or ()
    return next((one for one in conditions if one.get("type") == "Ready"), {})
