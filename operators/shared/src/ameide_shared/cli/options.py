"""Options that several subcommands have."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import click

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


def cluster_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--kubeconfig` and `--context`: which cluster to ask."""
    kubeconfig = click.option(
        "--kubeconfig", type=click.Path(exists=True), help="Default: $KUBECONFIG, else ~/.kube/config, else in-cluster."
    )
    context = click.option("--context", help="Context of the kubeconfig. Default: its current one.")
    return kubeconfig(context(function))
