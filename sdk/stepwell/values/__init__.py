"""From what users log to what travels: the first station behind `log()`, in the caller's thread.

A number becomes a float64 point, anything else JSON text. Pure: no I/O, no state, no dependence on the stations.
"""
