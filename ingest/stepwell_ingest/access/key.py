"""The form of an API key: `stw_`, an id, a secret and a checksum. Pure.

    stw_ 0123456789ab 0123456789abcdefghijklmnopqrstuv 0123AB
         id (12)      secret (32)                      checksum (6)

All parts are in base 62: digits and letters. The id names the row of the key and may be shown. The secret has 190 bits.
Only a SHA-256 of id and secret is stored: for so long a secret, a slow hash would not add security. The checksum is the
CRC-32 of both: with it, scanners for leaked secrets recognise a key, and the server refuses a mistyped one, without a
look-up.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import zlib
from dataclasses import dataclass, field

PREFIX = "stw_"
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_ID, _SECRET, _CHECK = 12, 32, 6
_FORM = re.compile(rf"{PREFIX}([0-9A-Za-z]{{{_ID}}})([0-9A-Za-z]{{{_SECRET}}})([0-9A-Za-z]{{{_CHECK}}})")


@dataclass(frozen=True, slots=True)
class Key:
    """An API key.

    Attributes:
        id: names the key in lists and logs.
        secret: known to the holder of the key only.
    """

    id: str
    secret: str = field(repr=False)

    @property
    def text(self) -> str:
        """The key as its holder sends it."""
        return PREFIX + self.id + self.secret + _checksum(self.id + self.secret)

    @property
    def digest(self) -> bytes:
        """The SHA-256 that is stored instead of the key: 32 bytes."""
        return hashlib.sha256((self.id + self.secret).encode()).digest()


def make_key() -> Key:
    """A new key."""
    return Key(_random(_ID), _random(_SECRET))


def parse_key(text: str) -> Key | None:
    """Parses a key; None: the text has another form, or a wrong checksum."""
    found = _FORM.fullmatch(text)
    if found is None or _checksum(found[1] + found[2]) != found[3]:
        return None
    return Key(found[1], found[2])


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _checksum(text: str) -> str:
    rest, digits = zlib.crc32(text.encode()), ""
    for _ in range(_CHECK):  # 62 ** 6 is above 2 ** 32
        rest, digit = divmod(rest, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
