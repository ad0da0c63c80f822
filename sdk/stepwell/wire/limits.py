"""Limits on which both ends of the wire agree. A change here changes the protocol (docs/wire-format.md)."""

from __future__ import annotations

#: The version of the messages on a stream and of the attach message. A server refuses any other.
PROTOCOL_VERSION = 1
MAX_FRAME_BYTES = 16 * 1024 * 1024
#: Limits of a row, the values of one step: every row fits into one frame.
MAX_ROW_BYTES = 10_383_360  # the limit of W&B's client for one row
MAX_ROW_KEYS = 100_000
MAX_KEY_BYTES = 32_767
#: How deep JSON may be nested. Readers wrap values in some levels of their own, and JSON parsers stop at 254 or so.
MAX_DEPTH = 100
#: The levels around a value: `{"set": {key: …}}`, for example, and the row that contains it.
LEVELS_AROUND = 10
#: Larger integers are refused: they exceed the range of a float64, and many readers of JSON accept no other numbers.
MAX_INT_BITS = 1023
#: jsonb keeps numbers as `numeric`, which has at most this many decimal places; a number that JSON parsers round to 0
#: may have more.
MAX_DECIMALS = 16_383
#: Ranges of steps have an exclusive end, so there must be a step above the highest one.
MAX_STEP = 2**63 - 2
#: Years 1970 to 9999, which Postgres, Python and browsers can all represent. Microseconds since the Unix epoch.
MIN_TIME_US = 0
MAX_TIME_US = 253_402_300_799_999_999
#: The most characters of the name of an entity, project, run or writer. Entity, project and run share an index entry,
#: which may have 2,704 bytes in Postgres.
MAX_NAME = 256
MAX_NAME_BYTES = 768
#: The most characters of a tag.
MAX_TAG = 64
#: The kind of a note is a word; the server keeps an index of kinds.
MAX_NOTE_KIND_BYTES = 64
#: A block costs a server about a kilobyte, whatever its size.
MAX_BLOCKS = 16_384
#: The most frames that a sender may have in flight; the ledger remembers at least as many checksums, so that a repeated
#: frame can be told from a conflicting one.
WINDOW_FRAMES = 256
#: The largest WebSocket message to the server. Frames form a stream that is cut into messages; a large frame takes
#: several. The limit is small, so that the partial messages of ten thousand connections stay below a gigabyte.
MAX_MESSAGE_BYTES = 64 * 1024
