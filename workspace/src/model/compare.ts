// Several runs side by side: one row for each key, and rows in which the runs differ first. Pure.

import type { Json, Run } from "../data/api.ts";
import * as format from "./format.ts";
import { naturally } from "./sections.ts";
import { exactText, flat, logged, textOf } from "./values.ts";

/** How many runs fit on the page. */
export const MOST_SIDES = 20;

/** A run and its summary. */
export interface Side {
  run: Run;
  summary: Record<string, Json>;
}

export type Cell = Json | undefined;

export interface Row {
  key: string;
  /** One for each run; undefined: the run lacks the key. */
  cells: readonly Cell[];
  /** All runs have the same value. */
  same: boolean;
}

export interface Part {
  name: "Config" | "Summary" | "Run";
  /** Rows in which the runs differ, then the others; each in natural order. */
  rows: readonly Row[];
  differ: number;
}

/** What of a page with parts is shown: titles of parts, and rows below them. */
export type Shown = { part: Part; row: null } | { part: Part; row: Row };

export function parts(sides: readonly Side[]): Part[] {
  return [
    part(
      "Config",
      sides.map(({ run }) => flat(run.config).filter(([key]) => !key.startsWith("_"))),
    ),
    part(
      "Summary",
      sides.map(({ summary }) => flat(logged(summary))),
    ),
    part("Run", sides.map(about)),
  ];
}

/** The rows that a search and the choice of differences leave; titles of parts without any rows are left out. */
export function shownOf(all: readonly Part[], query: string, same: boolean): Shown[] {
  const wanted = query.trim().toLowerCase();
  return all.flatMap((part): Shown[] => {
    const rows = part.rows.filter((row) => (same || !row.same) && row.key.toLowerCase().includes(wanted));
    return rows.length === 0 ? [] : [{ part, row: null }, ...rows.map((row) => ({ part, row }))];
  });
}

/** The texts of a row's cells; different values that look the same are shown with all of their digits. */
export function texts(cells: readonly Cell[]): string[] {
  const short = cells.map(textOf);
  const seen = new Map<string, string>();
  for (const [i, cell] of cells.entries()) {
    const text = canonical(cell);
    if ((seen.get(short[i]!) ?? text) !== text) return cells.map(exactText);
    seen.set(short[i]!, text);
  }
  return short;
}

/** By how much a number differs from the first run's, with its sign; "": it does not, or one is not a number. */
export function difference(cells: readonly Cell[], i: number): string {
  const [first, value] = [cells[0], cells[i]];
  if (typeof first !== "number" || typeof value !== "number" || value === first) return "";
  const delta = value - first;
  return `${delta > 0 ? "+" : ""}${format.value(Number(delta.toPrecision(3)))}`;
}

export const equal = (a: Cell, b: Cell): boolean => canonical(a) === canonical(b);

function part(name: Part["name"], lists: readonly (readonly [string, Json])[][]): Part {
  const maps = lists.map((list) => new Map(list));
  const keys = [...new Set(maps.flatMap((map) => [...map.keys()]))].toSorted(naturally);
  const rows = keys.map((key): Row => {
    const cells = maps.map((map) => map.get(key));
    return { key, cells, same: cells.every((cell) => equal(cell, cells[0])) };
  });
  const different = rows.filter((row) => !row.same);
  return { name, rows: [...different, ...rows.filter((row) => row.same)], differ: different.length };
}

// What is known of a run beside its config and its summary, in the words of its page.
function about({ run }: Side): [string, Json][] {
  const known: [string, Json | undefined][] = [
    ["id", run.id],
    ["state", run.state],
    ["started", format.when(run.created_at)],
    ["duration", run.duration_s === null ? null : format.duration(run.duration_s)],
    ["last step", run.last_step],
    ["points", run.points],
    ["rejected frames", run.rejected],
    ["writers", run.writers],
    ["exit code", run.exit_code],
    ["host", run.host],
    ["user", run.username],
    ["group", run.group],
    ["job type", run.job_type],
    ["tags", run.tags.join(", ")],
    ["note", run.notes],
    ["forked from", run.parent],
  ];
  const more = flat(run.metadata).filter(([key]) => !/^(started_at|packages\b|host$|username$)/u.test(key));
  return [...known, ...more].filter((pair): pair is [string, Json] => pair[1] !== null && pair[1] !== "");
}

// The same text for the same value, whatever the order of keys.
function canonical(value: Cell): string {
  return value === undefined
    ? "undefined"
    : JSON.stringify(value, (_, inner: unknown) =>
        typeof inner === "object" && inner !== null && !Array.isArray(inner)
          ? Object.fromEntries(Object.entries(inner).toSorted(([a], [b]) => (a < b ? -1 : 1)))
          : inner,
      );
}
