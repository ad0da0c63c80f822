"""The server's processes: how a worker is composed, and how workers and the sealer start, drain and stop."""
