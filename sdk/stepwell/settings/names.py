"""Display names of runs whose id was made up: two words and a number, as people can say and remember them.

Made of the id, so every process of a run finds the same name and no server has to be asked. Pure.
"""

from __future__ import annotations

import hashlib

_ADJECTIVES = (
    "amber ancient autumn balmy bold brave breezy bright brisk calm clear clever cosmic crimson crisp curious dainty "
    "dapper dashing deep earnest eager early easy electric elegant fair fearless floral fresh frosty gentle giddy "
    "glad golden good graceful grateful green happy hardy honest icy jolly jumping kind laced lemon light likely "
    "lively lucky lunar magic mellow mild misty neat noble northern olive peach playful polar polished pretty proud "
    "quiet radiant rare rich robust rosy royal rural sandy serene silver skilled smooth snowy solar soft spring "
    "stellar still summer sunny swift tender trim true upbeat valiant vivid warm wild winter wise woven young zesty"
)
_NOUNS = (
    "bee bird blaze bloom breeze brook bush butterfly canyon capybara cherry cloud comet coral cosmos creek darkness "
    "dawn deer dew donkey dragon dream dust eagle ember energy etchings falcon feather field fire firefly flower fog "
    "forest fox frog frost galaxy glade glitter grass grove harbor haze hill island jazz lake lantern leaf lion "
    "meadow meteor microwave monkey moon morning mountain music night oath ocean orchid paper pebble pine planet "
    "plant pond puddle rain resonance river sea shadow shape silence sky smoke snow snowflake sound sponge star storm "
    "stream sun sunset surf terrain thunder tree universe valley violet voice water waterfall wave wildflower wind "
    "wood yogurt"
)


def words_of(run_id: str) -> str:
    """The display name of a run without one: "silver-harbor-417"."""
    adjectives, nouns = _ADJECTIVES.split(), _NOUNS.split()
    number = int.from_bytes(hashlib.blake2b(run_id.encode(), digest_size=8).digest())
    number, adjective = divmod(number, len(adjectives))
    number, noun = divmod(number, len(nouns))
    return f"{adjectives[adjective]}-{nouns[noun]}-{number % 999 + 1}"
