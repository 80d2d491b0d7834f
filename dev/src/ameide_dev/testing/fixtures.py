"""Pytest fixtures that the tests of every operator use; the operators themselves come from `subject`."""

from __future__ import annotations

import pytest

from ameide_dev.operators import install_identities
from ameide_dev.platform import Platform


@pytest.fixture(scope="session")
def chart(platform: Platform) -> Platform:
    """The platform with the chart's CRDs, identities and rights of all operators."""
    install_identities(platform.client)
    return platform
