"""Delivers frames and collects acknowledgements: the outbox, the stream, and the I/O thread that drives both
(`sender.py`).

Frames leave the outbox only after the server has acknowledged them. `account.py` has the counts that users see.
"""
