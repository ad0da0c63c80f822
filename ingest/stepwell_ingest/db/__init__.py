"""What the server needs of Postgres besides queries: a cluster of its own (`cluster`) and the schema in it (`migrate`).

Stands below `write`, `seal` and `read`, and imports none of them.
"""
