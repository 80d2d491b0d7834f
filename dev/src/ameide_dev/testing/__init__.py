"""What the tests of all operators stand on: an operator under test, its resources, faults, golden cases, properties."""

import pytest

# A failed assertion in these shows its values, as one in a test does.
pytest.register_assert_rewrite(
    *(f"{__name__}.{module}" for module in ("conformance", "golden", "properties", "waiting"))
)
