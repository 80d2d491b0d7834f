"""What a UISurface's plan may know, as plain data; `observe` fills it, `render` reads it from files."""

from __future__ import annotations

from dataclasses import dataclass, field

from ameide_shared.observed import Observed as ObservedBase
from uisurface_operator.keycloak.observation import Observation


@dataclass(frozen=True, slots=True)
class Observed(ObservedBase):
    """The cluster and Keycloak as one UISurface's plan may know them.

    Of others, `objects` holds what it depends on, the other UISurfaces of its host, and a ServiceAccount that the spec
    names. `client` is what is known of its client in Keycloak.
    """

    client: Observation = field(default_factory=Observation)
