"""Recorded automatically beside a run: console output, system metrics and the origin of the program.

Each part passes notes to a callable. Nothing here knows the run or its session.
"""
