"""What a Domain's plan may know of the cluster, as plain data; `observe` fills it, `render` reads it from files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ameide_shared.observed import Observed as ObservedBase


@dataclass(frozen=True, slots=True)
class Observed(ObservedBase):
    """The cluster as one Domain's plan may know it.

    Of others, `objects` holds the Cluster that the Domain refers to, the DatabaseRoles, Databases and Domains that lay
    claim to the same names, and, where the spec names them, a ServiceAccount and a Secret. `logs` has the end of the
    log of a migration Job's pod, by Job name, scrubbed of passwords; one that cannot be read is not there.
    `past_known`: no migration of before can be missing among the objects.
    """

    logs: Mapping[str, str] = field(default_factory=dict)
    past_known: bool = True
