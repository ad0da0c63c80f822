"""Reads runs and their history, and runs the SQL of users. Called by `api` and `commands`."""
