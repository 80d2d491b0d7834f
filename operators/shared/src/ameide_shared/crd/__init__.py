"""Generation of CustomResourceDefinitions from the typed models."""

from ameide_shared.crd.generate import crd_of, crd_path, crd_yaml, schema_of, write_crd

__all__ = ["crd_of", "crd_path", "crd_yaml", "schema_of", "write_crd"]
