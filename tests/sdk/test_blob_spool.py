"""Files wait on disk under their hash, complete, once and within their limit, until they are stored."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stepwell.errors import BlobTooLargeError, SpoolError, SpoolFullError
from stepwell.files.blob_spool import Blob, BlobSpool, directories_with_blobs

MIB = 1024 * 1024


@pytest.fixture
def spool(tmp_path: Path) -> BlobSpool:
    return BlobSpool(tmp_path / "run" / "0-aabbccdd", 10 * MIB, 12 * MIB)


def names(spool: BlobSpool) -> list[str]:
    return sorted(path.name for path in spool.directory.iterdir())


@pytest.mark.parametrize("size", [0, 1, MIB, 3 * MIB + 5])
def test_bytes_and_paths_give_the_same_file(spool: BlobSpool, tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    source = tmp_path / "source"
    source.write_bytes(data)
    blob = spool.add(data)
    assert blob == spool.add(source) == Blob(hashlib.sha256(data).hexdigest(), size)
    assert spool.path(blob.sha256).read_bytes() == data
    assert (names(spool), spool.waiting, spool.stored_bytes) == ([blob.sha256], [blob], size)


def test_file_is_kept_as_logged(spool: BlobSpool, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"before")
    blob = spool.add(source)
    source.write_bytes(b"afterwards")
    assert spool.path(blob.sha256).read_bytes() == b"before"


def test_stored_file_is_removed_and_not_kept_again(spool: BlobSpool, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x")
    blob = spool.add(b"x")
    spool.stored(blob.sha256)
    assert (spool.add(b"x"), spool.add(source)) == (blob, blob)
    assert (names(spool), spool.waiting, spool.stored_bytes) == ([], [], 0)


def test_old_server_answers_expire(spool: BlobSpool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server may have removed the file since, if no run references it."""
    now = 1_700_000_000.0
    monkeypatch.setattr("stepwell.files.blob_spool.time.time", lambda: now)
    blob = spool.add(b"the same bytes")
    spool.stored(blob.sha256)
    now += 11 * 3600
    assert spool.add(b"the same bytes") == blob
    assert not spool.has(blob.sha256)
    for later in (now + 2 * 3600, now - 12 * 3600):  # a clock that went back proves nothing
        now = later
        assert spool.add(b"the same bytes") == blob
        assert spool.has(blob.sha256)
        now = 1_700_000_000.0
        spool.stored(blob.sha256)


def test_oversized_file_is_refused_with_the_limit(spool: BlobSpool) -> None:
    with pytest.raises(BlobTooLargeError, match=r"10,485,761 bytes; the limit is 10,485,760"):
        spool.add(bytes(10 * MIB + 1))
    assert not spool.directory.exists()


def test_full_spool_accepts_files_after_deliveries(spool: BlobSpool) -> None:
    first = spool.add(bytes(8 * MIB))
    with pytest.raises(SpoolFullError, match=r"5,242,880 bytes; 8,388,608 of 12,582,912 are used"):
        spool.add(os.urandom(5 * MIB))
    assert spool.add(bytes(8 * MIB)) == first  # exists already
    spool.stored(first.sha256)
    spool.add(os.urandom(5 * MIB))


def test_unreadable_path_is_the_callers_error(spool: BlobSpool, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        spool.add(tmp_path / "nowhere")
    assert spool.stored_bytes == 0


def test_unwritable_directory_is_an_error_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    spool = BlobSpool(tmp_path / "file", MIB, MIB)
    with pytest.raises(SpoolError, match="STEPWELL_DIR"):
        spool.add(b"x")
    assert spool.stored_bytes == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True).returncode:
        pytest.skip("mounting a tmpfs needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_full_disk_keeps_other_files(small_disk: Path) -> None:
    spool = BlobSpool(small_disk, 10 * MIB, 100 * MIB)
    first = spool.add(os.urandom(600_000))
    with pytest.raises(SpoolFullError, match="no room on the disk"):
        spool.add(os.urandom(600_000))
    assert (names(spool), spool.stored_bytes) == ([first.sha256], 600_000)
    spool.add(os.urandom(300_000))
    spool.stored(first.sha256)
    spool.add(os.urandom(600_000))


def test_crash_leftovers_are_removed(spool: BlobSpool) -> None:
    blobs = [spool.add(bytes([number])) for number in range(5)]
    for age, blob in enumerate(blobs):
        os.utime(spool.path(blob.sha256), (age, age))
    (spool.directory / "new-0011.tmp").write_bytes(b"half")
    (spool.directory / f"{'0' * 64}.damaged").write_bytes(b"bad")
    later = BlobSpool(spool.directory.parent, MIB, MIB)
    later.load()
    assert (later.waiting, later.stored_bytes) == (blobs, 5)
    assert names(later) == sorted([f"{'0' * 64}.damaged", *(blob.sha256 for blob in blobs)])


def test_damaged_file_is_set_aside(spool: BlobSpool) -> None:
    good, bad = spool.add(b"good"), spool.add(b"bad")
    spool.path(bad.sha256).write_bytes(b"BAD")
    assert (spool.check(good.sha256), spool.check(bad.sha256)) == (True, False)
    assert (spool.waiting, names(spool)) == ([good], sorted([good.sha256, f"{bad.sha256}.damaged"]))


def test_threads_may_add_files(spool: BlobSpool) -> None:
    contents = [bytes([number % 7]) * 1000 for number in range(70)]
    with ThreadPoolExecutor(8) as pool:
        blobs = list(pool.map(spool.add, contents))
        pool.map(spool.stored, {blob.sha256 for blob in blobs[:3]})
    assert len(spool.waiting) == 4
    assert spool.stored_bytes == sum(path.stat().st_size for path in spool.directory.iterdir()) == 4000


def test_directories_with_files_are_found(tmp_path: Path) -> None:
    spools = [BlobSpool(tmp_path / run / "0-aabbccdd", MIB, MIB) for run in ("b", "a", "c")]
    blobs = [spool.add(b"x") for spool in spools]
    for age, (spool, blob) in enumerate(zip(spools, blobs, strict=True)):
        os.utime(spool.path(blob.sha256), (age, age))
    spools[2].stored(blobs[2].sha256)
    for spool in spools:
        spool.close()
    assert directories_with_blobs(tmp_path) == [tmp_path / "b" / "0-aabbccdd", tmp_path / "a" / "0-aabbccdd"]
    assert directories_with_blobs(tmp_path / "a" / "0-aabbccdd") == [tmp_path / "a" / "0-aabbccdd"]
    assert not (tmp_path / "c").exists()
