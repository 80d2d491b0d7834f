"""How subcommands end when they cannot do their work: one line on stderr and exit code 2, never a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click

from ameide_shared.kube.errors import ApiError, ChildConflict, ImmutableField
from ameide_shared.kube.kubeconfig import ConfigError
from ameide_shared.settings import SettingsError

OK: Final = 0
DIFFERENT: Final = 1
"""The question was answered with no: differences, findings, not Ready."""
TROUBLE: Final = 2
"""The question could not be answered."""


class Trouble(click.ClickException):
    """What keeps a subcommand from its work; the message says what to do about it."""

    exit_code = TROUBLE


@contextmanager
def reported() -> Iterator[None]:
    """Turn the errors that users meet into Trouble; anything else is a bug and keeps its traceback."""
    try:
        yield
    except SettingsError as error:
        raise Trouble(str(error)) from None
    except ConfigError as error:
        raise Trouble(f"no access to a cluster: {error}") from None
    except ApiError as error:
        raise Trouble(f"the API server: {error.message}") from None
    except (ChildConflict, ImmutableField) as error:
        raise Trouble(error.message) from None
    except BrokenPipeError:
        raise  # whoever read the output has seen enough; click ends quietly
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        raise Trouble(f"{what}{error.strerror or error}") from None
