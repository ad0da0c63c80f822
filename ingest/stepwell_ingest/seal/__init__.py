"""Sealing: rewrites hot blocks into chunks of one metric over about a thousand steps, in a process beside the
workers."""
