"""A container's environment and command line, resolved as a kubelet does it."""

from __future__ import annotations

import base64
import math
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

Object = Mapping[str, Any]

_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_.\-][A-Za-z0-9_.\-]*)\)")
_SUFFIXES = {
    "m": 0.001,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}


class NotResolvedError(Exception):
    """Something that the container refers to is missing; the message is the kubelet's CreateContainerConfigError."""


class Lookup(Protocol):
    """Where ConfigMaps and Secrets of the pod's namespace come from; None when there is none of that name."""

    def config_map(self, name: str) -> Object | None: ...

    def secret(self, name: str) -> Object | None: ...


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace `$(NAME)` by the variable, leave unknown ones alone, and turn `$$` into `$`."""

    def one(match: re.Match[str]) -> str:
        name = match.group(1)
        return "$" if name is None else variables.get(name, match.group(0))

    return _REFERENCE.sub(one, text)


def resolve(pod: Object, container: Object, addresses: Mapping[str, str], lookup: Lookup) -> dict[str, str]:
    """Return the container's own variables (env and envFrom). `addresses` overrides field paths such as status.podIP.

    Raises NotResolvedError when a Secret, a ConfigMap or one of their keys is missing and not optional.
    """
    variables: dict[str, str] = {}
    for source in container.get("envFrom", []):
        variables.update(_from_source(source, lookup))
    for entry in container.get("env", []):
        value = _value(pod, container, entry, addresses, lookup)
        if value is not None:
            variables[entry["name"]] = expand(value, variables) if "valueFrom" not in entry else value
    return variables


def _from_source(source: Object, lookup: Lookup) -> dict[str, str]:
    prefix = source.get("prefix", "")
    if "configMapRef" in source:
        ref, found, kind = source["configMapRef"], lookup.config_map(source["configMapRef"]["name"]), "configmap"
    else:
        ref, found, kind = source["secretRef"], lookup.secret(source["secretRef"]["name"]), "secret"
    if found is None:
        if ref.get("optional"):
            return {}
        raise NotResolvedError(f'{kind} "{ref["name"]}" not found')
    return {prefix + key: value.decode(errors="replace") for key, value in data_of(found).items()}


def _value(pod: Object, container: Object, entry: Object, addresses: Mapping[str, str], lookup: Lookup) -> str | None:
    source = entry.get("valueFrom")
    if source is None:
        return str(entry.get("value", ""))
    if "fieldRef" in source:
        return field_value(pod, source["fieldRef"]["fieldPath"], addresses)
    if "resourceFieldRef" in source:
        return resource_value(pod, container, source["resourceFieldRef"])
    secret = "secretKeyRef" in source
    ref = source["secretKeyRef" if secret else "configMapKeyRef"]
    kind, found = ("secret", lookup.secret(ref["name"])) if secret else ("configmap", lookup.config_map(ref["name"]))
    if found is None:
        if ref.get("optional"):
            return None
        raise NotResolvedError(f'{kind} "{ref["name"]}" not found')
    value = data_of(found).get(ref["key"])
    if value is None:
        if ref.get("optional"):
            return None
        raise NotResolvedError(f"couldn't find key {ref['key']} in {kind} {pod['metadata']['namespace']}/{ref['name']}")
    return value.decode(errors="replace")


def data_of(item: Object) -> dict[str, bytes]:
    """The content of a ConfigMap or Secret, decoded."""
    if item["kind"] == "Secret":
        return {key: base64.b64decode(value) for key, value in (item.get("data") or {}).items()}
    texts = {key: value.encode() for key, value in (item.get("data") or {}).items()}
    return texts | {key: base64.b64decode(value) for key, value in (item.get("binaryData") or {}).items()}


def field_value(pod: Object, path: str, addresses: Mapping[str, str]) -> str:
    """A downward API field of the pod; all of metadata.labels or metadata.annotations is one `key="value"` a line."""
    if path in addresses:
        return addresses[path]
    if match := re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path):
        return str((pod["metadata"].get(match.group(1)) or {}).get(match.group(2), ""))
    value: Any = pod
    for part in path.split("."):
        value = (value or {}).get(part)
    if isinstance(value, Mapping):
        return "\n".join(f'{key}="{text}"' for key, text in sorted(value.items()))
    return "" if value is None else str(value)


def resource_value(pod: Object, container: Object, ref: Object) -> str:
    """A downward API resource in units of its divisor, rounded up; without a limit, this machine's own size."""
    if name := ref.get("containerName"):
        container = next(each for each in pod["spec"]["containers"] if each["name"] == name)
    kind, _, resource = ref["resource"].partition(".")
    amount = container.get("resources", {}).get(kind, {}).get(resource)
    if amount is None and kind == "limits":
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        amount = str(os.cpu_count() or 1) if resource == "cpu" else str(memory)
    divisor = quantity(str(ref.get("divisor") or "1")) or 1.0
    # One part in a million less: 0.5 / 0.001 must be 500 and not, by binary fractions, 501.
    return str(math.ceil(quantity(str(amount or "0")) / divisor - 1e-6))


def quantity(text: str) -> float:
    """The number that a Kubernetes quantity such as `500m` or `64Mi` stands for."""
    for suffix in sorted(_SUFFIXES, key=len, reverse=True):
        if text.endswith(suffix):
            return float(text.removesuffix(suffix)) * _SUFFIXES[suffix]
    return float(text)


def command_line(
    container: Object, entrypoint: Sequence[str], arguments: Sequence[str], variables: Mapping[str, str]
) -> list[str]:
    """What is executed: the container's command replaces the image's entrypoint and arguments, its args the latter."""
    if container.get("command"):
        parts = [*container["command"], *container.get("args", [])]
    else:
        parts = [*entrypoint, *(container.get("args") or arguments)]
    return [expand(part, variables) for part in parts]
