"""The commands of the server: one module each, with a `COMMAND` that the entry points of pyproject.toml name.

They take what they need of the SDK's command line from `stepwell.cli` alone, and nothing of the server imports them.
"""
