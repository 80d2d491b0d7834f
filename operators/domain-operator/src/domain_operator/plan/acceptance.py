"""Whether a Domain may be compiled at all: tenant, images, profile, service account. Every rule that fails is named."""

from __future__ import annotations

from typing import Final

from ameide_shared.builders.network import NetworkProfile
from ameide_shared.builders.networkpolicy import parse_profiles, profile_problem
from ameide_shared.builders.serviceaccount import service_account_name
from ameide_shared.imagepolicy import image_problems
from ameide_shared.kube.resources import NAMESPACE, SERVICE_ACCOUNT
from ameide_shared.reasons import Reason
from ameide_shared.stages import Stage, State, done
from ameide_shared.tenancy import service_account_problem, tenant_problem
from domain_operator.plan.context import Context

PROTO_MODULE_LABEL: Final = "io.ameide.proto.module"
PROTO_VERSION_LABEL: Final = "io.ameide.proto.version"


def accept(ctx: Context) -> Stage:
    """Done, or the first reason for refusal with all messages of that reason."""
    for check in (_tenant, _images, _registry, _profile, _service_account):
        stage = check(ctx)
        if stage is not None:
            return stage
    return done("", Reason.AsExpected)


def _tenant(ctx: Context) -> Stage | None:
    namespace = ctx.primitive.namespace
    manifest = ctx.observed.objects.get(NAMESPACE, "", namespace)
    problem = tenant_problem(None, manifest, namespace, require_label=ctx.settings.tenancy.require_label)
    if problem is None:
        return None
    return Stage("", State.STALLED, problem.reason, problem.message, object=problem.object, remedy=problem.remedy)


def _images(ctx: Context) -> Stage | None:
    named = [("spec.image", ctx.spec.image)]
    if ctx.spec.db is not None and ctx.spec.db.migration_job_image:
        named.append(("spec.db.migrationJobImage", ctx.spec.db.migration_job_image))
    problems = [
        problem for field, image in named for problem in image_problems(image, ctx.settings.images, field=field)
    ]
    if not problems:
        return None
    return Stage(
        "",
        State.STALLED,
        Reason.ImageNotAllowed,
        "; ".join(problem.message for problem in problems),
        remedy="; ".join(dict.fromkeys(problem.remedy for problem in problems)),
    )


def _registry(ctx: Context) -> Stage | None:
    """What the registry says of the image, where settings have it asked."""
    if ctx.observed.image_error is not None:
        reason, message = ctx.observed.image_error
        if reason == Reason.ImageNotFound:
            return Stage(
                "",
                State.STALLED,
                Reason.ImageNotFound,
                f"spec.image: {message}",
                remedy="push the image, or name one that exists",
            )
        return Stage(
            "",
            State.FAILED,
            Reason.RegistryUnavailable,
            f"spec.image {ctx.spec.image} could not be checked: {message}",
            remedy="the check is repeated; to do without it, set images.registryCheck.enabled: false in the settings",
        )
    info, proto = ctx.observed.image_info, ctx.spec.proto
    if info is None or proto is None:
        return None
    wanted = {PROTO_MODULE_LABEL: proto.module, PROTO_VERSION_LABEL: proto.version}
    wrong = [
        f"label {label} is {info.labels.get(label) or 'not set'}, spec.proto says {value}"
        for label, value in wanted.items()
        if value and info.labels.get(label) != value
    ]
    if not wrong:
        return None
    return Stage(
        "",
        State.STALLED,
        Reason.ProtoMismatch,
        f"image {ctx.spec.image}: {'; '.join(wrong)}",
        remedy="name the image that was built for this contract, or correct spec.proto",
    )


def network_profile(ctx: Context) -> NetworkProfile | None:
    """The profile that the spec names, None if there is no such profile."""
    return parse_profiles(ctx.settings.network_profiles).get(ctx.spec.security.network_profile)


def _profile(ctx: Context) -> Stage | None:
    name = ctx.spec.security.network_profile
    profile = network_profile(ctx)
    if profile is None:
        known = ", ".join(sorted(parse_profiles(ctx.settings.network_profiles)))
        message = f"spec.security.networkProfile: there is no profile {name!r}"
        return Stage("", State.STALLED, Reason.InvalidSpec, message, remedy=f"use one of {known}")
    problem = profile_problem(name, profile, allow_internet=ctx.spec.security.allow_internet)
    if problem is None:
        return None
    return Stage("", State.STALLED, Reason.InvalidSpec, problem.message, remedy=problem.remedy)


def _service_account(ctx: Context) -> Stage | None:
    name = service_account_name(ctx.primitive, ctx.spec)
    manifest = ctx.observed.objects.get(SERVICE_ACCOUNT, ctx.primitive.namespace, name)
    problem = service_account_problem(ctx.primitive, manifest)
    if problem is None:
        return None
    return Stage("", State.WAITING, problem.reason, problem.message, object=problem.object, remedy=problem.remedy)
