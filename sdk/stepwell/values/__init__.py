"""Converts logged values to the values that are sent: the first step of `log()`, in the caller's thread.

A number becomes a float64 point, anything else JSON text. Pure: no I/O, no state, no dependence on later steps.
"""
