"""Limits on which both ends of the wire agree. A change here changes the protocol (docs/wire-format.md)."""

from __future__ import annotations

#: A row holds the values of one step; every row fits into one frame.
MAX_FRAME_BYTES = 16 * 1024 * 1024
MAX_ROW_BYTES = 10_383_360  # the limit of W&B's client for one row
MAX_ROW_KEYS = 100_000
MAX_KEY_BYTES = 32_767
#: How deep JSON may be nested. Readers wrap values in some levels of their own, and JSON parsers stop at 254 or so.
MAX_DEPTH = 100
#: The kind of a note is a word; the server keeps an index of kinds.
MAX_NOTE_KIND_BYTES = 64
#: A block costs a server about a kilobyte, whatever its size.
MAX_BLOCKS = 16_384
#: The most frames that a sender may have in flight; the ledger remembers at least as many checksums, so that a repeated
#: frame can be told from a conflicting one.
WINDOW_FRAMES = 256
#: The largest WebSocket message. Frames form a stream that is cut into messages; a large frame takes several. The limit
#: is small, so that the partial messages of ten thousand connections stay below a gigabyte.
MAX_MESSAGE_BYTES = 64 * 1024
