"""Turns `log()` calls into rows and frames: the open step, the waiting rows, and the frames made from a cut.

`stage.py` gathers rows in the caller's thread; `framer.py` turns a cut of them into frames in the I/O thread.
"""
