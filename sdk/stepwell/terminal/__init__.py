"""Shared by all commands: the interface of a command, and the display of numbers, sizes, tables and progress."""
