"""The frames of one writer session on disk, from when they are cut until the server acknowledges them.

`spool.py` decides which call may do what with which frame, `chain.py` orders the segments, `segment.py` defines the
format.
"""

from stepwell.spool.segment import SpoolIdentity
from stepwell.spool.spool import Spool, SpoolLimits

__all__ = ["Spool", "SpoolIdentity", "SpoolLimits"]
