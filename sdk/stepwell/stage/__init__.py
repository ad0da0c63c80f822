"""`log()` → rows → cut → frames: the open step, the waiting rows, and the frames that are made of them.

`stage.py` gathers rows in the caller's thread; `framer.py` turns a cut of them into frames in the I/O thread.
"""
