"""The judge: compares the journals with the database, and reports lost, duplicated, unknown and changed values.

The input is one project, its journals and a DSN; the output is a `Verdict`. It reports:

    lost         an acknowledged step with a value that is not in the view `history` or `history_objects`
    duplicated   a value that is stored more than once, under any writer, session or epoch
    unknown      a row that nobody tried to log
    unequal      a row whose 64 bits (or JSON) are not those that were logged
    complaints   accounts that do not add up, ledgers that disagree with the rows, unexpected rejections, incomplete
                 rows of an interrupted call, pages with a wrong file

Pages (files) and alerts (notes) count as values that are acknowledged once the spool has accepted their notes.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from faults.journal import Record, read_journal
from faults.payload import NESTED_KEY, PAGE_KEY, alert, bits, nested, page, payload, writer_of
from stepwell_ingest.blobs.incoming import path_of

#: The possible errors of a value.
KINDS = ("lost", "duplicated", "unknown", "unequal")
_SAMPLES = 5

#: The seqs of an epoch and the stored rows of each: blocks, objects and rejections. Sealed rows have no seq, so only
#: from `open_seq` on must all be present.
_LEDGERS = """
SELECT encode(uuid_send(l.session), 'hex') AS session, l.run_id, l.writer_id, l.epoch, l.next_seq, l.points, l.objects,
       l.rejected, b.seqs AS block_seqs, b.points + c.points AS block_points, o.seqs AS object_seqs,
       coalesce(o.objects, 0) AS object_rows, j.seqs AS rejected_seqs,
       n.seqs AS note_seqs, l.sealed_points, c.points AS chunk_points, t.points AS total_points,
       CASE WHEN l.sealed_below > 0 THEN coalesce(b.open_seq, l.next_seq) ELSE 0 END AS open_seq
FROM stepwell.ledger l JOIN stepwell.run r USING (run_id)
LEFT JOIN LATERAL (
    SELECT array_agg(DISTINCT seq) AS seqs, min(seq) FILTER (WHERE step_hi >= l.sealed_below) AS open_seq,
           coalesce(sum(cardinality(keys) * (SELECT count(*) FROM unnest(steps) s WHERE s >= l.sealed_below)), 0)
               ::bigint AS points
    FROM stepwell.hot_block h
    WHERE (h.run_id, h.writer_id, h.epoch) = (l.run_id, l.writer_id, l.epoch)) b ON true
LEFT JOIN LATERAL (
    SELECT coalesce(sum(points), 0)::bigint AS points FROM stepwell.chunk h
    WHERE (h.run_id, h.writer_id, h.epoch) = (l.run_id, l.writer_id, l.epoch)) c ON true
LEFT JOIN LATERAL (
    SELECT coalesce(sum(points), 0)::bigint AS points FROM stepwell.metric_total h
    WHERE (h.run_id, h.writer_id, h.epoch) = (l.run_id, l.writer_id, l.epoch)) t ON true
LEFT JOIN LATERAL (
    SELECT array_agg(DISTINCT seq) AS seqs, count(*) AS objects FROM stepwell.hot_object h
    WHERE (h.run_id, h.writer_id, h.epoch) = (l.run_id, l.writer_id, l.epoch)) o ON true
LEFT JOIN LATERAL (
    SELECT array_agg(seq) AS seqs FROM stepwell.rejection h
    WHERE (h.run_id, h.writer_id, h.epoch) = (l.run_id, l.writer_id, l.epoch)) j ON true
LEFT JOIN LATERAL (
    SELECT array_agg(DISTINCT seq) AS seqs FROM stepwell.note h
    WHERE (h.run_id, h.writer_id, h.epoch) = (l.run_id, l.writer_id, l.epoch) AND h.seq >= 0) n ON true
WHERE r.project = $1
"""


@dataclass(slots=True)
class Verdict:
    """The findings of the judge. Counts refer to values (points and objects).

    Attributes:
        sessions, obligations, present: the amounts that were compared.
        lost, duplicated, unknown, unequal: see the docstring of the module.
        complaints: other errors, one sentence each.
        samples: some of the wrong values.
    """

    sessions: int = 0
    obligations: int = 0
    present: int = 0
    lost: int = 0
    duplicated: int = 0
    unknown: int = 0
    unequal: int = 0
    complaints: list[str] = field(default_factory=list)
    samples: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> set[str]:
        """The kinds of errors that were found."""
        return {kind for kind in (*KINDS, "complaints") if getattr(self, kind)}

    @property
    def clean(self) -> bool:
        return not self.wrong

    def __str__(self) -> str:
        lines = [
            f"{self.sessions} sessions; {self.obligations:,} acknowledged values, {self.present:,} values in Postgres: "
            f"{self.lost} lost, {self.duplicated} duplicated, {self.unknown} unknown, {self.unequal} unequal"
        ]
        lines += [f"  {text}" for text in (*self.complaints[:20], *self.samples)]
        return "\n".join(lines)

    def _wrong(self, kind: str, count: int, what: str) -> None:
        setattr(self, kind, getattr(self, kind) + count)
        if sum(sample.startswith(kind) for sample in self.samples) < _SAMPLES:
            self.samples.append(f"{kind}: {what}")


@dataclass(slots=True)
class Judge:
    """Judges one project.

    Args:
        dsn: the DSN of Postgres itself, without a proxy.
        project: the project that was logged to.
        delivered: whether every spool was delivered. If so, everything that a spool accepted must be stored, and the
            accounts must add up; otherwise, only acknowledged values must be stored.
        rejections: whether frames may have been refused (by default none may).
        blobs: the directory of the server's files; None: it has none.
    """

    dsn: str
    project: str
    delivered: bool = True
    rejections: bool = False
    blobs: Path | None = None

    async def verdict(self, journals: Mapping[str, Sequence[Path]]) -> Verdict:
        """The verdict on a project.

        Args:
            journals: the journals by run, one for each process that logged to it.
        """
        records = {run: [read_journal(path) for path in paths] for run, paths in journals.items()}
        connection = await asyncpg.connect(self.dsn)
        try:
            points = await connection.fetch(
                "SELECT run, writer, metric AS key, step, value FROM stepwell.history WHERE project = $1", self.project
            )
            objects = await connection.fetch(
                "SELECT run, writer, key, step, value FROM stepwell.history_objects WHERE project = $1", self.project
            )
            alerts = await connection.fetch(
                "SELECT run, writer, title FROM stepwell.alerts WHERE project = $1", self.project
            )
            ledgers = await connection.fetch(_LEDGERS, self.project)
        finally:
            await connection.close()
        verdict = Verdict(sessions=sum(bool(record.session) for group in records.values() for record in group))
        pages = [row for row in objects if row["key"] == PAGE_KEY]
        values = [row for row in objects if row["key"] != PAGE_KEY]
        self._judge_rows(records, [*points, *values], verdict)
        self._judge_pages(records, pages, verdict)
        self._judge_alerts(records, alerts, verdict)
        self._judge_ledgers(records, ledgers, verdict)
        return verdict

    def _judge_rows(self, records: Mapping[str, list[Record]], rows: Sequence[Any], verdict: Verdict) -> None:
        tried: dict[tuple[str, str], set[int]] = defaultdict(set)
        inner: dict[tuple[str, str], set[int]] = defaultdict(set)
        due: dict[tuple[str, str], set[tuple[int, str]]] = defaultdict(set)
        for run, group in records.items():
            for record in group:
                at = run, record.writer
                tried[at] |= record.tried
                inner[at] |= record.nesting
                last = max(record.stored, record.kept) if self.delivered else record.stored
                due[at] |= {
                    (step, key)
                    for step in record.tried - record.interrupted
                    if step <= last
                    for key in payload(*at, step)
                }
                due[at] |= {(step, NESTED_KEY) for step in record.nested if step <= last}
        found: Counter[tuple[str, str, int, str]] = Counter()
        verdict.present += len(rows)
        for run, name, key, step, value in rows:
            writer = writer_of(name)
            expected: float | str | None
            if key == NESTED_KEY:
                expected = nested(run, writer, step) if step in inner.get((run, writer), ()) else None
            else:
                expected = payload(run, writer, step).get(key) if step in tried.get((run, writer), ()) else None
            if expected is None:
                verdict._wrong("unknown", 1, f"{run} {name} step {step} {key!r}")
                continue
            found[run, writer, step, key] += 1
            same = json.loads(value) == expected if isinstance(expected, str) else bits(value) == bits(expected)
            if not same:
                verdict._wrong("unequal", 1, f"{run} {name} step {step} {key!r}: {value!r}, not {expected!r}")
        self._count(found, ((*at, *what) for at, some in due.items() for what in sorted(some)), verdict)
        for run, group in records.items():
            for record in group:
                for step in record.interrupted:
                    there = {
                        key: bool(found[run, record.writer, step, key]) for key in payload(run, record.writer, step)
                    }
                    if len(set(there.values())) > 1:
                        verdict.complaints.append(
                            f"{run} {record.writer}: the interrupted step {step} is torn: {there}"
                        )

    def _judge_pages(self, records: Mapping[str, list[Record]], rows: Sequence[Any], verdict: Verdict) -> None:
        tried = {
            (run, record.writer, step) for run, group in records.items() for record in group for step in record.tried
        }
        found: Counter[tuple[str, str, int]] = Counter()
        verdict.present += len(rows)
        for run, name, _, step, value in rows:
            at = run, writer_of(name), step
            text = page(*at) if at in tried else None
            if text is None:
                verdict._wrong("unknown", 1, f"{run} {name} step {step}, a page")
                continue
            found[at] += 1
            sha256 = json.loads(value)["sha256"]
            if sha256 != hashlib.sha256(text.encode()).hexdigest():
                verdict._wrong("unequal", 1, f"{run} {name} step {step}: the page {value}")
            elif self.blobs is not None:
                file = self.blobs / path_of(sha256)
                if not file.exists() or file.read_text() != text:
                    verdict.complaints.append(
                        f"{run} {name} step {step}: the file of the page is not that which was logged"
                    )
        notes = (
            (run, record.writer, step) for run, group in records.items() for record in group for step in record.pages
        )
        self._count(found, notes if self.delivered else (), verdict)

    def _judge_alerts(self, records: Mapping[str, list[Record]], rows: Sequence[Any], verdict: Verdict) -> None:
        tried = {
            (run, record.writer, step) for run, group in records.items() for record in group for step in record.tried
        }
        found: Counter[tuple[str, str, int]] = Counter()
        verdict.present += len(rows)
        for run, name, title in rows:
            at = run, writer_of(name), int(title.rpartition(" ")[2])
            if at not in tried or alert(at[2]) != title:
                verdict._wrong("unknown", 1, f"{run} {name}, the alert {title!r}")
                continue
            found[at] += 1
        notes = (
            (run, record.writer, step) for run, group in records.items() for record in group for step in record.alerts
        )
        self._count(found, notes if self.delivered else (), verdict)

    def _count(self, found: Counter[Any], due: Iterable[tuple[Any, ...]], verdict: Verdict) -> None:
        """Checks that each value is stored once, and that all required values are stored."""
        for at, count in found.items():
            if count > 1:
                verdict._wrong("duplicated", count - 1, " ".join(map(str, at)))
        for at in due:
            verdict.obligations += 1
            if not found[at]:
                verdict._wrong("lost", 1, " ".join(map(str, at)))

    def _judge_ledgers(self, records: Mapping[str, list[Record]], ledgers: Sequence[Any], verdict: Verdict) -> None:
        stored: Counter[str] = Counter()
        refused: Counter[str] = Counter()
        seqs: dict[str, Counter[int]] = defaultdict(Counter)
        goal: dict[str, int] = defaultdict(int)
        opened: dict[str, int] = defaultdict(int)  # earlier seqs may be sealed
        for row in ledgers:
            session, where = row["session"], f"run {row['run_id']} writer {row['writer_id']} epoch {row['epoch']}"
            if (row["points"], row["objects"]) != (row["block_points"], row["object_rows"]):
                verdict.complaints.append(
                    f"{where}: the ledger counts {row['points']} points and {row['objects']} objects; "
                    f"there are {row['block_points']} and {row['object_rows']}"
                )
            if not row["sealed_points"] == row["chunk_points"] == row["total_points"]:
                verdict.complaints.append(
                    f"{where}: {row['sealed_points']} points are sealed, by the ledger; chunks have "
                    f"{row['chunk_points']}, totals {row['total_points']}"
                )
            opened[session] = max(opened[session], row["open_seq"])
            if row["rejected"] != len(row["rejected_seqs"] or ()):
                verdict.complaints.append(f"{where}: the ledger counts {row['rejected']} rejections")
            stored[session] += row["points"] + row["objects"]
            refused[session] += row["rejected"]
            kept = set().union(*(row[f"{kind}_seqs"] or () for kind in ("block", "object", "note")))
            seqs[session].update(kept)
            seqs[session].update(row["rejected_seqs"] or ())
            goal[session] = max(goal[session], row["next_seq"])
        for session, next_seq in goal.items():
            odd = [
                seq
                for seq in set(seqs[session]) | set(range(next_seq))
                if seqs[session][seq] > 1 or seq >= next_seq or (seq >= opened[session] and not seqs[session][seq])
            ]
            if odd:
                verdict.complaints.append(
                    f"session {session}: next_seq is {next_seq}, and seqs {sorted(odd)[:5]} are not there once"
                )
        if not self.delivered:
            return
        for run, group in records.items():
            for record in group:
                at = record.session
                self._judge_account(run, record, stored[at], refused[at], goal[at], verdict)

    def _judge_account(
        self, run: str, record: Record, stored: int, refused: int, next_seq: int, verdict: Verdict
    ) -> None:
        who = f"session {record.session} of {record.writer}"
        if record.session and next_seq < record.spooled:
            verdict.complaints.append(f"{who}: the spool took {record.spooled} frames, the server has {next_seq}")
        if refused and not self.rejections:
            verdict.complaints.append(f"{who}: {refused} frames were rejected")
        account = record.account
        if account is None:
            return
        if account.logged != account.stored + account.rejected + account.dropped + account.left:
            verdict.complaints.append(f"{who}: the account does not add up: {account}")
        least = values_of(run, record.writer, record.tried - record.interrupted) + len(record.nested)
        most = values_of(run, record.writer, record.tried) + len(record.nesting)
        if not least <= account.logged <= most:
            verdict.complaints.append(f"{who}: {least} to {most} values were logged, the account says {account.logged}")
        if account.dropped and not self.rejections:
            verdict.complaints.append(f"{who}: {account.dropped} values were dropped")
        if not refused and not account.dropped and stored != account.stored + account.left:
            verdict.complaints.append(f"{who}: {account}, but Postgres has {stored} values of it")


def values_of(run: str, writer: str, steps: Iterable[int]) -> int:
    """The number of values of these steps."""
    return sum(len(payload(run, writer, step)) for step in steps)
