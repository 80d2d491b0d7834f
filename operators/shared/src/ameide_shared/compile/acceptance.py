"""Whether a resource may be compiled at all: tenant, images, profile, account. Every rule that fails is named."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ameide_shared.builders.network import NetworkProfile
from ameide_shared.builders.networkpolicy import parse_profiles, profile_problem
from ameide_shared.builders.serviceaccount import service_account_name
from ameide_shared.compile.context import Compiling
from ameide_shared.imagepolicy import image_problems
from ameide_shared.kube.resources import NAMESPACE, SERVICE_ACCOUNT
from ameide_shared.reasons import Reason
from ameide_shared.spec import CommonSpec, InvalidSpec
from ameide_shared.stages import Stage, State, done
from ameide_shared.tenancy import service_account_problem, tenant_problem

Context = Compiling[CommonSpec]


def accept(
    ctx: Context,
    *,
    tenant_id: str | None = None,
    more_images: Sequence[tuple[str, str]] = (),
    more: Sequence[Callable[[], Stage | None]] = (),
) -> Stage:
    """Done, or the first reason for refusal with all messages of that reason.

    `tenant_id` is what the spec says, if it says anything; `more_images` are (field, image) besides spec.image;
    `more` are the kind's own checks.
    """
    checks: list[Callable[[], Stage | None]] = [
        lambda: _tenant(ctx, tenant_id),
        lambda: _images(ctx, more_images),
        lambda: _registry(ctx),
        *more,
        lambda: _profile(ctx),
        lambda: _service_account(ctx),
    ]
    for check in checks:
        stage = check()
        if stage is not None:
            return stage
    return done("", Reason.AsExpected)


def refusal_of(error: InvalidSpec) -> Stage:
    """The stage of a spec that cannot be compiled at all."""
    return Stage(
        "",
        State.STALLED,
        Reason.InvalidSpec,
        "; ".join(f"{problem.field}: {problem.message}" for problem in error.problems),
        remedy="; ".join(dict.fromkeys(problem.remedy for problem in error.problems if problem.remedy)),
    )


def network_profile(ctx: Context) -> NetworkProfile | None:
    """The profile that the spec names, None if there is no such profile."""
    return parse_profiles(ctx.settings.network_profiles).get(ctx.spec.security.network_profile)


def _tenant(ctx: Context, tenant_id: str | None) -> Stage | None:
    namespace = ctx.primitive.namespace
    manifest = ctx.observed.objects.get(NAMESPACE, "", namespace)
    problem = tenant_problem(tenant_id, manifest, namespace, require_label=ctx.settings.tenancy.require_label)
    if problem is None:
        return None
    return Stage("", State.STALLED, problem.reason, problem.message, object=problem.object, remedy=problem.remedy)


def _images(ctx: Context, more: Sequence[tuple[str, str]]) -> Stage | None:
    problems = [
        problem
        for field, image in [("spec.image", ctx.spec.image), *more]
        for problem in image_problems(image, ctx.settings.images, field=field)
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
    if ctx.observed.image.problem is None:
        return None
    reason, message = ctx.observed.image.problem
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
