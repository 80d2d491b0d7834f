"""Released pod templates, kept as ControllerRevisions, so that what runs can be rebuilt after drift or a restart.

A revision is named by the digest of its template. Its number grows with each release: the highest is the current one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final

from ameide_shared import vocabulary as names
from ameide_shared.builders.identity import Primitive, child_metadata
from ameide_shared.kube.resources import CONTROLLER_REVISION, Manifest

PodTemplate = Mapping[str, Any]
"""`metadata` (labels, annotations) and `spec` of a pod, as in a Deployment's `spec.template`."""


@dataclass(frozen=True, slots=True)
class Revision:
    """One released pod template. `annotations` are ours, such as the key of its migration."""

    digest: str
    number: int
    template: PodTemplate
    name: str = ""
    uid: str = ""
    annotations: Mapping[str, str] | None = None


_NOT_CONTENT: Final = frozenset({names.ANNOTATION_REVISION, names.ANNOTATION_CONFIG_DIGEST})


def template_digest(template: PodTemplate) -> str:
    """The digest of a pod template as 10 hex digits: equal for equal content, whatever the order of its keys.

    Left out are the annotation that carries the digest, the track (stable and canary pods of one revision bear the
    same), and the digest of consumed configuration, which rolls pods within a revision.
    """
    metadata = template.get("metadata") or {}
    labels = {key: value for key, value in (metadata.get("labels") or {}).items() if key != names.LABEL_TRACK}
    annotations = metadata.get("annotations") or {}
    content = {
        "labels": labels,
        "annotations": {key: value for key, value in annotations.items() if key not in _NOT_CONTENT},
        "spec": template.get("spec") or {},
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:10]


def stamp(template: PodTemplate) -> tuple[dict[str, Any], str]:
    """The template with its digest as annotation `ameide.io/revision`, and that digest."""
    digest = template_digest(template)
    metadata = dict(template.get("metadata") or {})
    metadata["annotations"] = dict(metadata.get("annotations") or {}) | {names.ANNOTATION_REVISION: digest}
    return {"metadata": metadata, "spec": template["spec"]}, digest


def controller_revision(
    primitive: Primitive, template: PodTemplate, *, number: int, annotations: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """A ControllerRevision named `<child>-<digest>`. `data` is immutable in the API, `revision` is not.

    An old template that is released again gets its number raised, so it is current without a second copy.
    """
    stamped, digest = stamp(template)
    return {
        "apiVersion": CONTROLLER_REVISION.api_version,
        "kind": CONTROLLER_REVISION.kind,
        "metadata": child_metadata(
            primitive,
            f"{primitive.child_name}-{digest}",
            annotations=dict(annotations or {}) | {names.ANNOTATION_REVISION: digest},
        ),
        "data": {"template": stamped},
        "revision": number,
    }


def read(manifests: Iterable[Manifest]) -> list[Revision]:
    """The revisions that live ControllerRevisions hold, oldest first. Others' ControllerRevisions are passed over."""
    found = []
    for manifest in manifests:
        metadata = manifest["metadata"]
        annotations = metadata.get("annotations") or {}
        digest = annotations.get(names.ANNOTATION_REVISION)
        template = (manifest.get("data") or {}).get("template")
        if digest and template and not metadata.get("deletionTimestamp"):
            found.append(
                Revision(
                    digest=digest,
                    number=int(manifest.get("revision", 0)),
                    template=template,
                    name=metadata["name"],
                    uid=metadata.get("uid", ""),
                    annotations=annotations,
                )
            )
    return sorted(found, key=lambda revision: (revision.number, revision.digest))


def with_running(revisions: Sequence[Revision], deployment: Manifest | None, recorded: str) -> list[Revision]:
    """The revisions, and the one that runs where its ControllerRevision has been deleted.

    Without it an older one would count as the current. `deployment` is the live one, `recorded` the current revision
    that status names: a Deployment that somebody stamped otherwise is not believed.
    """
    template = ((deployment or {}).get("spec") or {}).get("template") or {}
    stamped = ((template.get("metadata") or {}).get("annotations") or {}).get(names.ANNOTATION_REVISION)
    if not recorded or stamped != recorded or find(revisions, recorded) is not None:
        return list(revisions)
    annotations = (deployment or {})["metadata"].get("annotations") or {}
    return [*revisions, Revision(recorded, next_number(revisions), template, annotations=annotations)]


def current(revisions: Sequence[Revision]) -> Revision | None:
    """The revision that is released: the one with the highest number."""
    return max(revisions, key=lambda revision: (revision.number, revision.digest), default=None)


def find(revisions: Iterable[Revision], digest: str) -> Revision | None:
    """The revision of a digest, or None."""
    return next((revision for revision in revisions if revision.digest == digest), None)


def next_number(revisions: Iterable[Revision]) -> int:
    """The number of the next release, from 1."""
    return max((revision.number for revision in revisions), default=0) + 1


def to_prune(revisions: Sequence[Revision], limit: int, keep: AbstractSet[str] = frozenset()) -> list[Revision]:
    """The oldest revisions beyond `limit`, never the current one nor those whose digest is in `keep` (in use)."""
    newest_first = sorted(revisions, key=lambda revision: (revision.number, revision.digest), reverse=True)
    surplus = newest_first[max(limit, 1) :]
    return [revision for revision in reversed(surplus) if revision.digest not in keep]
