"""What both ends of the wire share: frames, columns of replies, and limits. Pure: no I/O, no clock, no state.

`frame.py` has the unit in which logged data is spooled, sent, acknowledged and de-duplicated; `columns.py` has the
batches in which stored history is read back. The SDK and the server import these modules and `stepwell.errors`, and
share nothing else.
"""

from stepwell.wire.frame import (
    HEADER_BYTES,
    KIND_DATA,
    KIND_NOTES,
    KIND_TOMBSTONE,
    MAGIC,
    VERSION,
    Block,
    Float64Array,
    Frame,
    Header,
    Int64Array,
    Object,
    decode,
    decode_body,
    encode,
    encode_notes,
    encode_tombstone,
    peek,
    split,
)
from stepwell.wire.limits import (
    MAX_BLOCKS,
    MAX_DEPTH,
    MAX_FRAME_BYTES,
    MAX_KEY_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_NOTE_KIND_BYTES,
    MAX_ROW_BYTES,
    MAX_ROW_KEYS,
    WINDOW_FRAMES,
)
from stepwell.wire.names import pack_names, unpack_names

__all__ = [
    "HEADER_BYTES",
    "KIND_DATA",
    "KIND_NOTES",
    "KIND_TOMBSTONE",
    "MAGIC",
    "MAX_BLOCKS",
    "MAX_DEPTH",
    "MAX_FRAME_BYTES",
    "MAX_KEY_BYTES",
    "MAX_MESSAGE_BYTES",
    "MAX_NOTE_KIND_BYTES",
    "MAX_ROW_BYTES",
    "MAX_ROW_KEYS",
    "VERSION",
    "WINDOW_FRAMES",
    "Block",
    "Float64Array",
    "Frame",
    "Header",
    "Int64Array",
    "Object",
    "decode",
    "decode_body",
    "encode",
    "encode_notes",
    "encode_tombstone",
    "pack_names",
    "peek",
    "split",
    "unpack_names",
]
