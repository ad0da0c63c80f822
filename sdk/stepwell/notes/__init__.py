"""The notes of a run, sent beside its values: names, config, summary and metric definitions.

Notes travel in the same spool and in the same order as values, and never slow `log()` down.
"""
