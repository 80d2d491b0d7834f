"""What subcommands print: manifests as YAML with the values of Secrets redacted, coloured only on a terminal."""

from __future__ import annotations

import base64
import binascii
import json
import sys
from collections.abc import Mapping
from typing import Any, Final

import click
import yaml
from rich.console import Console
from rich.syntax import Syntax

from ameide_shared.kube.resources import SECRET, Manifest, resource_of
from ameide_shared.plan import Ensure, EnsureSecret, FromSecret, Generated, SecretValue
from ameide_shared.redact import fingerprint

GENERATED: Final = "<generated>"
_WIDTH: Final = 120


class _Dumper(yaml.SafeDumper):
    """Lists are indented, text of several lines is written as such, and nothing is an alias."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(value), style=style)


_Dumper.add_representer(str, _text)


def to_yaml(value: Any) -> str:
    """One YAML document, keys in their own order."""
    return yaml.dump(_plain(value), Dumper=_Dumper, sort_keys=False, width=_WIDTH, allow_unicode=True)


def _plain(value: Any) -> Any:
    """The same out of dict, list and str alone: plans hold other mappings, tuples and enums."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, str) else value


def to_json(value: Any) -> str:
    """Indented JSON with a final newline."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def emit(text: str, language: str = "yaml") -> None:
    """Print text, in colours where standard output is a terminal."""
    if sys.stdout.isatty():
        Console().print(Syntax(text.rstrip("\n"), language, background_color="default", word_wrap=True))
    else:
        click.echo(text, nl=False)


def shown(action: Ensure | EnsureSecret) -> dict[str, Any]:
    """The manifest of a child as it may be shown: a Secret's values say only what they are made of."""
    if isinstance(action, EnsureSecret):
        values = {key: secret_text(value) for key, value in action.values.items()}
        return {**action.manifest, "stringData": values}
    return redacted(action.manifest)


def secret_text(value: SecretValue) -> str:
    """What is shown for a value of a Secret that a plan describes."""
    match value:
        case str():
            return fingerprint(value)
        case Generated():
            return GENERATED
        case FromSecret():
            return f"<from {_source(value)}>"
        case _:
            parts = dict.fromkeys(_source(part) for part in value.parts if isinstance(part, FromSecret))
            return f"<composed with {', '.join(parts)}>"


def redacted(manifest: Manifest, words: frozenset[str] = frozenset()) -> dict[str, Any]:
    """A manifest as it may be shown: each value of a Secret is a fingerprint under stringData.

    A Secret that was read into a snapshot has digests instead of values; the fingerprints are the same. `words` stand
    for values that are not known yet, and are shown as they are.
    """
    if resource_of(manifest) is not SECRET:
        return dict(manifest)
    values = {key: f"<redacted sha256:{digest[:8]}>" for key, digest in (manifest.get("digests") or {}).items()}
    values |= {key: _fingerprint(value, words) for key, value in (manifest.get("data") or {}).items()}
    values |= {key: fingerprint(str(value)) for key, value in (manifest.get("stringData") or {}).items()}
    rest = {key: value for key, value in manifest.items() if key not in ("data", "stringData", "digests")}
    return {**rest, "stringData": values}


def _fingerprint(encoded: Any, words: frozenset[str]) -> str:
    try:
        value = base64.b64decode(str(encoded), validate=True)
    except binascii.Error:
        value = str(encoded).encode()
    known = next((word for word in words if word.encode() == value), None)
    return known or fingerprint(value)


def _source(value: FromSecret) -> str:
    return f"Secret {value.namespace}/{value.name}, key {value.key}"


def comment(text: str) -> str:
    """Text as YAML comment lines."""
    return "".join(f"# {line}".rstrip() + "\n" for line in text.splitlines() or [""])
