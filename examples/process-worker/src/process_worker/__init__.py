"""A generic Temporal worker that executes the binding table of an Ameide Process."""
