"""Options that several subcommands have."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from ameide_shared.cli.definition import Definition
from ameide_shared.cli.errors import Trouble
from ameide_shared.cli.inputs import read_text
from ameide_shared.kube.resources import Manifest
from ameide_shared.settings import FILE_VARIABLE


def _use_settings_file(_context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value:
        os.environ[FILE_VARIABLE] = value


def settings_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--settings FILE`: the operator's settings, where they are not the defaults."""
    option = click.option(
        "--settings",
        type=click.Path(exists=True, dir_okay=False),
        callback=_use_settings_file,
        expose_value=False,
        help=f"The operator's settings as YAML. Default: ${FILE_VARIABLE}, then AMEIDE_* variables.",
    )
    return option(function)


def companion_option(definition: Definition) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option for the operator's companion document, as `companion`; no option where it has none."""
    companion = definition.companion
    if companion is None:
        return lambda function: _without_companion(function)
    kind = click.Path(exists=True, dir_okay=False)
    return click.option(companion.option, "companion", type=kind, help=companion.help)


def _without_companion(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return function(*args, companion=None, **kwargs)

    return wrapped


def companions(definition: Definition, path: str | None, settings: Any) -> list[Manifest]:
    """The companion document as an object: of the file that is named, else of the one that settings name if it is
    there. Raises Trouble where the file holds something else.
    """
    companion = definition.companion
    if companion is None:
        return []
    file = Path(path) if path is not None else companion.default(settings)
    if path is None and not file.is_file():
        return []
    try:
        return [companion.read(read_text(str(file)))]
    except ValueError as error:
        raise Trouble(f"{file}: {error}") from None


def cluster_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--kubeconfig` and `--context`: which cluster to ask."""
    kubeconfig = click.option(
        "--kubeconfig", type=click.Path(exists=True), help="Default: $KUBECONFIG, else ~/.kube/config, else in-cluster."
    )
    context = click.option("--context", help="Context of the kubeconfig. Default: its current one.")
    return kubeconfig(context(function))
