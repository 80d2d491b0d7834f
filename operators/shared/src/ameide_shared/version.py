"""Which version of an operator this is: the release's, which its image is told when it is built, else the package's."""

from __future__ import annotations

import os
from importlib import metadata
from typing import Final

from ameide_shared.settings import VERSION_VARIABLE

_NO_RELEASE: Final = "0.0.0"
"""What images are told where nobody names a release."""


def version_of(operator: str) -> str:
    """The version of `domain-operator`: `1.4.0` of a release, `main-3f2a1c…` of a branch's image."""
    told = os.environ.get(VERSION_VARIABLE, "")
    return told if told not in ("", _NO_RELEASE) else metadata.version(operator)
