"""Callbacks that W&B's own package brings, for libraries that have none built in. `stepwell.integration.keras` is one.

Nothing here is imported by `import stepwell`; each module needs its library.
"""
