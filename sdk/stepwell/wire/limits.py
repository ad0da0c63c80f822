"""Limits on which both ends of the wire agree. A change here changes the protocol (docs/wire-format.md)."""

from __future__ import annotations

#: Of the messages on a stream and of the attach message. A server refuses any other.
PROTOCOL_VERSION = 1
#: A row is what one step logs; every row fits into one frame.
MAX_FRAME_BYTES = 16 * 1024 * 1024
MAX_ROW_BYTES = 10_383_360  # the limit of W&B's client for one row, so that what fits there fits here
MAX_ROW_KEYS = 100_000
MAX_KEY_BYTES = 32_767
#: How deep JSON may be nested. Readers wrap values in some levels of their own, and JSON parsers stop at 254 or so.
MAX_DEPTH = 100
#: What may stand around a value that is nested as deep: `{"set": {key: …}}`, say, and the row that it is part of.
LEVELS_AROUND = 10
#: Larger integers are refused: a float64 ends here, and with it what readers of JSON take for a number.
MAX_INT_BITS = 1023
#: jsonb keeps numbers as `numeric`, digit by digit: what a reader takes for 0 may have more decimals than that.
MAX_DECIMALS = 16_383
#: Ranges of steps end before a step, so there must be one behind the last.
MAX_STEP = 2**63 - 2
#: Years 1970 to 9999: what Postgres, Python and a browser can all show. Microseconds since the Unix epoch.
MIN_TIME_US = 0
MAX_TIME_US = 253_402_300_799_999_999
#: Characters of entity, project, run and writer. They stand in one index entry, which Postgres limits to 2,704 bytes.
MAX_NAME = 256
MAX_NAME_BYTES = 768
#: Characters of a tag.
MAX_TAG = 64
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
