"""Sealing: hot blocks become chunks, one metric over about a thousand steps. A process beside the workers."""
