"""Deletes runs: plans a deletion, removes runs from the catalog at once, and sweeps their rows later."""
