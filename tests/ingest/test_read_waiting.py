"""Ranges contain exactly the objects that wait for their files, and are few if files arrive in order."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell_ingest.read.waiting import Place, Range, inside, still_waiting

#: The objects of a frame (True: needs a file), and the number of files that then arrive, from the front or the back.
ROUNDS = st.lists(
    st.tuples(st.lists(st.booleans(), max_size=4), st.integers(0, 4), st.booleans(), st.booleans()), max_size=30
)


def told(ranges: list[Range], objects: list[Place], there: set[Place]) -> list[Place]:
    return [place for place in objects if place in there and inside(ranges, place)]


@settings(deadline=None, max_examples=400)
@given(ROUNDS)
def test_each_object_is_sent_once_with_its_file(rounds: list[tuple[list[bool], int, bool, bool]]) -> None:
    """Adds a frame; with `new_epoch`, to the next epoch, whose seqs start over."""
    objects: list[Place] = []
    there: set[Place] = set()
    heard: list[Place] = []
    waiting: list[Range] = []
    epoch, seq = 1, 0
    for frame, files, from_front, new_epoch in rounds:
        if new_epoch:
            epoch, seq = epoch + 1, 0
        objects += [Place(epoch, seq, number) for number, needs in enumerate(frame) if needs]
        absent = [place for place in objects if place not in there]
        there.update(absent[:files] if from_front else absent[max(0, len(absent) - files) :])
        ranges = [*waiting, Range(Place(epoch, seq, 0), Place(epoch, seq + 1, 0))]
        heard += told(ranges, objects, there)
        waiting = still_waiting(ranges, [(place, place in there) for place in objects])
        seq += 1
        assert sorted(heard) == sorted(there)
        assert [place for place in objects if inside(waiting, place)] == [p for p in objects if p not in there]


def test_consecutive_waiting_objects_are_one_range() -> None:
    """Every second frame has a picture; the first hundred files are stored."""
    waiting: list[Range] = []
    objects = [Place(1, seq, 0) for seq in range(0, 2000, 2)]
    for seq in range(0, 2000, 10):
        ranges = [*waiting, Range(Place(1, seq, 0), Place(1, seq + 10, 0))]
        waiting = still_waiting(ranges, [(place, place.seq < 200) for place in objects if place.seq < seq + 10])
    assert waiting == [Range(Place(1, 200, 0), Place(1, 2000, 0))]


def test_superseded_objects_are_forgotten() -> None:
    ranges = [Range(Place(1, 0, 0), Place(1, 9, 0))]
    assert still_waiting(ranges, []) == []
