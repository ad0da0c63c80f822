"""The write path, in the order of the data: admission → intake (ledger, validation) → batcher → copier."""
