"""The notes of a run: names, config, summary and metric definitions.

Notes travel in the same spool and in the same order as values, and never slow `log()` down.
"""
