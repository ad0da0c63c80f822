"""The write path, in the order of the data: admission → validation → ledger → batcher → copier (→ pgcopy) → Postgres."""
