"""Whether a Domain may be compiled at all: what holds for every kind, and that its image serves its contract."""

from __future__ import annotations

from typing import Final

from ameide_shared.compile import acceptance
from ameide_shared.reasons import Reason
from ameide_shared.stages import Stage, State
from domain_operator.plan.context import Context

PROTO_MODULE_LABEL: Final = "io.ameide.proto.module"
PROTO_VERSION_LABEL: Final = "io.ameide.proto.version"


def accept(ctx: Context) -> Stage:
    """Done, or all that forbids it."""
    migrator = ctx.spec.db.migration_job_image if ctx.spec.db is not None else None
    images = [("spec.db.migrationJobImage", migrator)] if migrator else []
    return acceptance.accept(ctx, more_images=images, more=(_contract(ctx),))


def _contract(ctx: Context) -> Stage | None:
    """Whether the image's labels name the contract that the spec does, where the registry was asked for them."""
    info, proto = ctx.observed.image.info, ctx.spec.proto
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
