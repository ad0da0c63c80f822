"""Sealing: rewrites hot blocks into chunks of one metric over about a thousand points, in a process of its own."""
