"""The server's processes: composes workers, and starts, drains and stops workers and the sealer."""
