"""What is recorded beside a run without a call: console output, system metrics and where the program comes from.

Each part hands notes to a callable that it is given. Nothing here knows the run or its session.
"""
