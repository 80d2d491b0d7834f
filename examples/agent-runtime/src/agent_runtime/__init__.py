"""A generic runtime of Ameide Agents: it talks to one model and uses granted tools only."""
