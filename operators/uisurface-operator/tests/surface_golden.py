"""The UISurface operator's golden cases."""

from __future__ import annotations

from pathlib import Path

from ameide_dev.testing.golden import Golden
from uisurface_operator.main import DEFINITION

GOLDEN = Golden(Path(__file__).with_name("golden"), DEFINITION)
