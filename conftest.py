"""Fixtures for all tests: the local platform, and operators that run on it."""

pytest_plugins = ["ameide_dev.pytest_plugin", "ameide_dev.testing.fixtures", "ameide_dev.testing.rights_plugin"]
