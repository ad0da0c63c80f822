"""The commands of the server: one module each, with a `COMMAND` that the entry points of pyproject.toml name.

They import what they need of the SDK's command line from `stepwell.cli` only, and the rest of the server imports none
of them.
"""
