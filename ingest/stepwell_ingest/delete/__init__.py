"""Deleting runs: what will go, out of the catalog at once, out of the tables by and by."""
