"""Records what a program does not log itself: console output, system metrics, the origin of the program, TensorBoard's
summaries, and histograms of watched models.

Each part passes notes or values to a callable. Nothing here knows the run or its session.
"""
