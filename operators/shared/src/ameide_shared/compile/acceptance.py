"""Whether a resource may be compiled at all: tenant, images, profile, account. Everything that forbids it is named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ameide_shared.builders.network import NetworkProfile
from ameide_shared.builders.networkpolicy import parse_profiles, profile_problem
from ameide_shared.builders.serviceaccount import service_account_name
from ameide_shared.compile.context import Compiling
from ameide_shared.imagepolicy import image_problems
from ameide_shared.kube.resources import NAMESPACE, SERVICE_ACCOUNT
from ameide_shared.reasons import Reason
from ameide_shared.spec import CommonSpec, InvalidSpec
from ameide_shared.stages import Stage, State, blocked, done
from ameide_shared.status import MESSAGE_LIMIT, joined
from ameide_shared.tenancy import service_account_problem, tenant_problem

Context = Compiling[CommonSpec]


def accept(
    ctx: Context,
    *,
    tenant_id: str | None = None,
    more_images: Sequence[tuple[str, str]] = (),
    more: Sequence[Stage | None] = (),
) -> Stage:
    """Done, or all that forbids it.

    `tenant_id` is what the spec says, if it says anything; `more_images` are (field, image) besides spec.image;
    `more` is what the kind's own checks say.
    """
    refusals = [
        *_tenant(ctx, tenant_id),
        *_images(ctx, more_images),
        *(stage for stage in more if stage is not None),
        *_profile(ctx),
        *_service_account(ctx),
    ]
    return _summed_up(refusals) if refusals else done("", Reason.AsExpected)


def behind(accepted: Stage, *stages: Stage) -> tuple[Stage, ...]:
    """The stages that follow: not judged for a resource that may not be compiled."""
    return stages if accepted.done else tuple(blocked(stage.condition, accepted) for stage in stages)


def _summed_up(refusals: Sequence[Stage]) -> Stage:
    """One stage that says all: as the first that cannot heal by itself, else as the first.

    Message and remedy fit into a condition together, with something of each refusal.
    """
    lead = next((stage for stage in refusals if stage.state is State.STALLED), refusals[0])
    if len(refusals) == 1:
        return lead
    parts = (lead, *(stage for stage in refusals if stage is not lead))
    remedy = joined((part.remedy for part in parts), MESSAGE_LIMIT // 2 - 2)
    message = joined((part.message for part in parts), MESSAGE_LIMIT - len(remedy) - 2)
    return replace(lead, message=message, remedy=remedy, parts=parts)


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


def _tenant(ctx: Context, tenant_id: str | None) -> Iterator[Stage]:
    namespace = ctx.primitive.namespace
    manifest = ctx.observed.objects.get(NAMESPACE, "", namespace)
    problem = tenant_problem(tenant_id, manifest, namespace, require_label=ctx.settings.tenancy.require_label)
    if problem is not None:
        yield Stage("", State.STALLED, problem.reason, problem.message, object=problem.object, remedy=problem.remedy)


def _images(ctx: Context, more: Sequence[tuple[str, str]]) -> Iterator[Stage]:
    """What settings have against the images; and of one that may run, what the registry says."""
    refused = set()
    for field, image in (("spec.image", ctx.spec.image), *more):
        for problem in image_problems(image, ctx.settings.images, field=field):
            refused.add(field)
            yield Stage("", State.STALLED, Reason.ImageNotAllowed, problem.message, remedy=problem.remedy)
    if ctx.observed.image.problem is None or "spec.image" in refused:
        return
    reason, message = ctx.observed.image.problem
    if reason == Reason.ImageNotFound:
        yield Stage(
            "",
            State.STALLED,
            Reason.ImageNotFound,
            f"spec.image: {message}",
            remedy="push the image, or name one that exists",
        )
    else:
        yield Stage(
            "",
            State.FAILED,
            Reason.RegistryUnavailable,
            f"spec.image {ctx.spec.image} could not be checked: {message}",
            remedy="the check is repeated; to do without it, set images.registryCheck.enabled: false in the settings",
        )


def _profile(ctx: Context) -> Iterator[Stage]:
    name = ctx.spec.security.network_profile
    profile = network_profile(ctx)
    if profile is None:
        known = ", ".join(sorted(parse_profiles(ctx.settings.network_profiles)))
        message = f"spec.security.networkProfile: there is no profile {name!r}"
        yield Stage("", State.STALLED, Reason.InvalidSpec, message, remedy=f"use one of {known}")
        return
    problem = profile_problem(name, profile, allow_internet=ctx.spec.security.allow_internet)
    if problem is not None:
        yield Stage("", State.STALLED, Reason.InvalidSpec, problem.message, remedy=problem.remedy)


def _service_account(ctx: Context) -> Iterator[Stage]:
    name = service_account_name(ctx.primitive, ctx.spec)
    manifest = ctx.observed.objects.get(SERVICE_ACCOUNT, ctx.primitive.namespace, name)
    problem = service_account_problem(ctx.primitive, manifest)
    if problem is not None:
        yield Stage("", State.WAITING, problem.reason, problem.message, object=problem.object, remedy=problem.remedy)
