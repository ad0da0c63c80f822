"""Reads stored history as columns. Called by `api`; depends on the SQL contract only."""
