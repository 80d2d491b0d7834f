"""Write CRD files, or check that the committed ones are current.

    python -m ameide_shared.crd [--check] MODULE:KIND DIRECTORY …

as in `domain_operator.spec:Domain operators/domain-operator/config/crd`. Exit code 1: a file was not current.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import click

from ameide_shared.crd.generate import write_crd
from ameide_shared.spec.resource import ResourceModel


@click.command(help="Write the CRD of each kind, given as MODULE:KIND DIRECTORY pairs, from its typed model.")
@click.option("--check", is_flag=True, help="Write nothing; fail when a file is not what would be written.")
@click.argument("pairs", nargs=-1, required=True)
def main(check: bool, pairs: tuple[str, ...]) -> None:
    if len(pairs) % 2:
        raise click.UsageError("arguments come in pairs: MODULE:KIND DIRECTORY")
    stale = []
    for reference, directory in zip(pairs[::2], pairs[1::2], strict=True):
        path, current = write_crd(_kind(reference), Path(directory), check=check)
        if not current:
            stale.append(path)
            click.echo(f"{path}: {'is not current: run make generate' if check else 'written'}")
    if check and stale:
        raise SystemExit(1)


def _kind(reference: str) -> type[ResourceModel]:
    module, _, name = reference.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise click.UsageError(f"{reference} is not MODULE:KIND of a resource model: {error}") from None
    if not (isinstance(found, type) and issubclass(found, ResourceModel)):
        raise click.UsageError(f"{reference} is not a resource model")
    return found


if __name__ == "__main__":
    main()
