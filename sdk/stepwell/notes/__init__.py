"""What a run says about itself beside values: names, config, summary and definitions of metrics.

These travel as notes in the same spool and in the same order as values, and never cost `log()` anything.
"""
