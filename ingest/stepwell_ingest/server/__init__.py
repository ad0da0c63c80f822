"""The server's processes: one worker or several, the sealer beside them, and how they start, drain and stop."""
