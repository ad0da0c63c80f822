"""Limits on which both ends of the wire agree. A change here is a change of the protocol (docs/wire-format.md)."""

from __future__ import annotations

#: A row is what one step logs; every row fits into one frame.
MAX_FRAME_BYTES = 16 * 1024 * 1024
MAX_ROW_BYTES = 10_383_360  # the limit of W&B's client for one row, so that what fits there fits here
MAX_ROW_KEYS = 100_000
MAX_KEY_BYTES = 32_767
#: How deep JSON may be nested. Readers wrap values in some levels of their own, and JSON parsers stop at 254 or so.
MAX_DEPTH = 100
#: What a note is about is a word; the server keeps an index of them.
MAX_NOTE_KIND_BYTES = 64
#: A block costs a server about a kilobyte, whatever it holds.
MAX_BLOCKS = 16_384
#: How many frames a sender may have in flight; the ledger remembers at least as many checksums, so that each of them
#: can be told from a conflicting one when it comes again.
WINDOW_FRAMES = 256
#: The largest WebSocket message. Frames are a stream that is cut into messages; a large frame takes several. Small, so
#: that what ten thousand connections have half sent stays below a gigabyte.
MAX_MESSAGE_BYTES = 64 * 1024
