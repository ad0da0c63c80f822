"""From frames to acknowledgements: the outbox, the stream, and the I/O thread that drives both (`sender.py`).

Frames leave the outbox only when the server has acknowledged them. `account.py` has the counts that users see.
"""
