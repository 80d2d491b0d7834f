"""The pods of a surface: image, cache, flags, where dependencies are, and the login of apps that do it themselves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ameide_shared.builders.configmap import config_map
from ameide_shared.builders.environment import literal
from ameide_shared.builders.identity import child_metadata, is_owned
from ameide_shared.builders.inputs import FRONTEND, Extras
from ameide_shared.builders.pod import pod_template
from ameide_shared.builders.serviceaccount import service_account_name
from ameide_shared.compile.immutable import ensure_immutable
from ameide_shared.compile.surroundings import unwanted
from ameide_shared.kube.resources import CONFIG_MAP, DEPLOYMENT
from ameide_shared.plan import Action, Ensure
from ameide_shared.revisions import PodTemplate
from ameide_shared.workload import workload_state
from uisurface_operator.plan.auth import SECRET_KEY, secret_digest
from uisurface_operator.plan.context import Context, references
from uisurface_operator.target import APPLICATION, base_path, callback_url

FLAGS_PATH: Final = "/etc/ameide/flags"
FLAGS_FILE: Final = "flags.json"
SDK_PATH: Final = "/etc/ameide/sdk"
SDK_FILE: Final = "config.json"
OIDC_PATH: Final = "/etc/ameide/oidc"
ANNOTATION_DEPENDENCIES: Final = "ameide.io/dependencies"
_LIVE: Final = "Live"


def template(ctx: Context) -> PodTemplate:
    """The pod template of the app."""
    return pod_template(
        ctx.primitive,
        ctx.spec,
        profile=FRONTEND,
        defaults=ctx.settings.pods,
        otlp_endpoint=ctx.settings.otel.endpoint,
        service_account=service_account_name(ctx.primitive, ctx.spec),
        extras=_extras(ctx),
    )


def config_digest(worn: PodTemplate, ctx: Context) -> str:
    """What the pods of a template consume of the Secret; empty for those that mount none."""
    return secret_digest(ctx) if _mounts(worn, "secret", "secretName", ctx.secret_name) else ""


def dependencies_text(ctx: Context) -> str:
    """Everything that the app calls, as the Deployment is annotated with it."""
    return ",".join(
        f"{each.resource.kind.lower()}/{each.key}" for each in references(ctx.spec, ctx.primitive.namespace)
    )


def configuration(ctx: Context) -> list[Action]:
    """The files that the pods read. Those that never change are made anew where somebody put others there."""
    return [
        ensure_immutable(ctx.primitive, ctx.observed.objects, manifest, why, required=True)
        if once
        else Ensure(manifest, why, required=True)
        for manifest, why, once in _files(ctx)
    ]


def drop_unused(ctx: Context, running: Iterable[PodTemplate]) -> list[Action]:
    """Files that no pod reads any more. While a rollout is under way the old ReplicaSet may still start pods."""
    main = ctx.observed.objects.get(DEPLOYMENT, ctx.primitive.namespace, ctx.primitive.child_name)
    if not workload_state(main).rolled_out:
        return []
    templates = [*running, *(each["spec"]["template"] for each in ctx.observed.children(DEPLOYMENT))]
    used = {str(name) for each in templates for name in _config_maps(each)}
    keep = used | {manifest["metadata"]["name"] for manifest, _, _ in _files(ctx)}
    ours = [each for each in ctx.observed.children(CONFIG_MAP) if is_owned(ctx.primitive, each)]
    if not ours:
        return []
    return unwanted(ctx, CONFIG_MAP, "no pod reads it", keep=keep)


def _extras(ctx: Context) -> Extras:
    flags, sdk = _flags(ctx), _sdk(ctx)
    volumes: list[dict[str, Any]] = [
        {"name": "flags", "configMap": {"name": flags["metadata"]["name"]}},
        {"name": "sdk", "configMap": {"name": sdk["metadata"]["name"]}},
    ]
    mounts: list[dict[str, Any]] = [
        {"name": "flags", "mountPath": FLAGS_PATH, "readOnly": True},
        {"name": "sdk", "mountPath": SDK_PATH, "readOnly": True},
    ]
    cache = ctx.settings.app.cache_path
    if cache not in ctx.spec.writable_paths:
        volumes.append({"name": "cache", "emptyDir": {}})
        mounts.append({"name": "cache", "mountPath": cache})
    if ctx.mode == APPLICATION:
        items = [{"key": SECRET_KEY, "path": SECRET_KEY}]
        volumes.append({"name": "oidc", "secret": {"secretName": ctx.secret_name, "items": items}})
        mounts.append({"name": "oidc", "mountPath": OIDC_PATH, "readOnly": True})
    return Extras(env=_env(ctx), volumes=volumes, mounts=mounts)


def _env(ctx: Context) -> list[dict[str, Any]]:
    env = {
        "PORT": str(FRONTEND.port("http")),
        "HOSTNAME": "0.0.0.0",  # noqa: S104 - in a pod, whose NetworkPolicy says who gets there; where Next.js listens
        "AMEIDE_BASE_URL": ctx.url,
        "AMEIDE_BASE_PATH": base_path(ctx.surface),
        "AMEIDE_AUTH_MODE": ctx.mode,
        "AMEIDE_FLAGS_FILE": f"{FLAGS_PATH}/{FLAGS_FILE}",
        "AMEIDE_SDK_CONFIG_FILE": f"{SDK_PATH}/{SDK_FILE}",
    }
    if ctx.mode == APPLICATION and ctx.connection is not None:
        env |= {
            "OIDC_ISSUER": ctx.connection.issuer,
            "OIDC_CLIENT_ID": ctx.target.client.client_id,
            "OIDC_CLIENT_SECRET_FILE": f"{OIDC_PATH}/{SECRET_KEY}",
            "OIDC_REDIRECT_URI": callback_url(ctx.surface, ctx.settings),
            "OIDC_SCOPES": " ".join(["openid", *ctx.spec.auth.scopes]),
        }
    return [{"name": name, "value": literal(value)} for name, value in env.items()]


def _files(ctx: Context) -> list[tuple[dict[str, Any], str, bool]]:
    """The ConfigMaps, what each is, and whether it never changes."""
    return [
        (_flags(ctx), "feature flags", ctx.spec.features.delivery != _LIVE),
        (_sdk(ctx), "where the dependencies are", True),
    ]


def _flags(ctx: Context) -> dict[str, Any]:
    """Flags as a file; under a name of its own content where a change rolls the pods."""
    features = ctx.spec.features
    data = {FLAGS_FILE: _json({"flags": dict(features.flags), "variants": dict(features.variants)})}
    name = f"{ctx.primitive.child_name}-flags"
    if features.delivery != _LIVE:
        return config_map(ctx.primitive, name, data)
    return {
        "apiVersion": CONFIG_MAP.api_version,
        "kind": CONFIG_MAP.kind,
        "metadata": child_metadata(ctx.primitive, name),
        "data": data,
    }


def _sdk(ctx: Context) -> dict[str, Any]:
    """The SDK's configuration: the base URL of every dependency. Which may be called says the NetworkPolicy.

    A dependency that goes, or withdraws its consent, starts no new pods.
    """
    together: dict[str, dict[str, dict[str, str]]] = {"domains": {}, "processes": {}, "agents": {}}
    for each in references(ctx.spec, ctx.primitive.namespace):
        host = f"{each.key.name}-{each.resource.kind.lower()}.{each.key.namespace}.svc"
        together[each.resource.plural][each.written] = {"http": f"http://{host}:8080", "grpc": f"{host}:50051"}
    content = {"version": 1, "tenantHeader": "x-tenant-id", "tenantId": ctx.primitive.tenant_id, **together}
    return config_map(ctx.primitive, f"{ctx.primitive.child_name}-sdk", {SDK_FILE: _json(content)})


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _config_maps(worn: PodTemplate) -> list[str]:
    volumes = worn["spec"].get("volumes") or ()
    return [each["configMap"]["name"] for each in volumes if "configMap" in each]


def _mounts(worn: PodTemplate, kind: str, field: str, name: str) -> bool:
    return any((each.get(kind) or {}).get(field) == name for each in worn["spec"].get("volumes") or ())
