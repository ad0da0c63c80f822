"""Access to Postgres: the embedded cluster (`cluster`), connections (`connect`) and the schema (`migrate`).

Used by `write`, `seal` and `read`, and imports none of them.
"""
