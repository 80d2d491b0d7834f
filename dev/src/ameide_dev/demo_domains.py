"""The demo's resources: which manifests they are in, what becomes of each, and whether they are there yet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ameide_dev.client import condition_of
from ameide_dev.demo_screen import key

Object = dict[str, Any]

EXAMPLES = Path(__file__).parents[3] / "examples"
API = "ameide.io/v1"
SHOP = "shop"
CLUSTER = ("databases", "main")
KINDS = ("Domain", "Process", "Agent", "UISurface")
FAILING = {
    f"{SHOP}/campaigns": "DependencyNotFound",
    f"{SHOP}/dunning": "DefinitionInvalid",
    f"{SHOP}/refunds": "PolicyViolation",
    f"{SHOP}/returns": "MigrationFailed",
    f"{SHOP}/storefront": "ImageNotAllowed",
}
"""The resources of `examples/failing` and the reason that each of them ends with."""

_HOPELESS = frozenset(
    {
        "DefinitionInvalid",
        "HostNotPermitted",
        "ImageNotAllowed",
        "InvalidSpec",
        "KeycloakConnectionUnknown",
        "MigrationFailed",
        "PolicyViolation",
    }
)
"""Reasons with which a resource does not become Ready by waiting."""


class DemoError(Exception):
    """The demo did not show what it should; the message says what is missing."""


class RefusalError(DemoError):
    """The demo did not begin; the message says why not, and what to do."""


def resource_files(kinds: Sequence[str] = KINDS) -> list[Path]:
    """The manifests of the examples' resources of these kinds: those that work, then those that fail."""
    files = [*sorted(EXAMPLES.glob("[!0-9]*.yaml")), *sorted(EXAMPLES.glob("failing/*.yaml"))]
    return [file for file in files if any(f"\nkind: {kind}\n" in file.read_text() for kind in kinds)]


def at_rest(domains: Sequence[Object]) -> bool:
    """Whether every resource is Ready, or has failed as it should. Raises DemoError for one that failed otherwise."""
    for domain in domains:
        ready = condition_of(domain, "Ready")
        if ready is None or key(domain) in FAILING or not _is_current(domain, ready):
            continue
        if ready["reason"] in _HOPELESS:
            raise DemoError(f"{domain['kind']} {key(domain)} is not Ready: {ready['reason']}: {ready['message']}")
    return not unfinished(domains)


def unfinished(domains: Sequence[Object]) -> list[str]:
    """What is still awaited, in a sentence for each resource."""
    sentences = []
    for domain in domains:
        ready, expected = condition_of(domain, "Ready"), FAILING.get(key(domain))
        if ready is None:
            sentences.append(f"{key(domain)} has no status yet")
        elif not _is_current(domain, ready) or (ready["reason"] != expected if expected else ready["status"] != "True"):
            wanted = expected or "Ready"
            sentences.append(f"{key(domain)} should be {wanted}, but is {ready['reason']} ({ready['message']})")
    return sentences


def _is_current(domain: Object, condition: Object) -> bool:
    return bool(condition.get("observedGeneration") == domain["metadata"]["generation"])
