// The answer to a query: its cells as text, and its columns as the lines of a chart. Pure.

import { value as number, exact, step } from "./format.ts";

export interface Column {
  name: string;
  /** As Postgres calls it: "int8", "float8", "text". */
  type: string;
}

export interface Result {
  columns: readonly Column[];
  rows: readonly (readonly unknown[])[];
  /** There were more rows than one answer takes. */
  truncated: boolean;
  elapsed_ms: number;
}

/** Which columns are drawn, by position. */
export interface Choice {
  x: number;
  y: number;
  /** Rows with one value here are one line; null: all rows are. */
  by: number | null;
}

/** The points of one line, ordered by x. */
export interface Trace {
  name: string;
  x: Float64Array;
  y: Float64Array;
}

const INTEGERS = new Set(["int2", "int4", "int8", "oid"]);
const NUMBERS = new Set([...INTEGERS, "float4", "float8", "numeric"]);
const TIMES = new Set(["timestamptz", "timestamp", "date"]);

export const isNumber = (column: Column | undefined): boolean => column !== undefined && NUMBERS.has(column.type);
export const isTime = (column: Column | undefined): boolean => column !== undefined && TIMES.has(column.type);

/** The number of a cell, in Unix seconds where it is a time; NaN: it has none. */
export function cellNumber(column: Column, cell: unknown): number {
  if (typeof cell === "number") return cell;
  if (typeof cell !== "string") return Number.NaN;
  // The server writes what JSON numbers cannot say as words: "NaN", "-Infinity", "9007199254740993".
  return isTime(column) ? Date.parse(cell) / 1000 : Number(cell);
}

/** A cell as people read it, and in full, to be copied. */
export function cellTexts(column: Column, cell: unknown): { shown: string; full: string } {
  if (cell === null || cell === undefined) return { shown: "", full: "NULL" };
  if (typeof cell === "string") return { shown: cell, full: cell };
  if (typeof cell === "number") {
    const whole = INTEGERS.has(column.type) || (column.type === "numeric" && Number.isInteger(cell));
    return { shown: whole ? step(cell) : number(cell), full: exact(cell) };
  }
  const text = typeof cell === "object" ? JSON.stringify(cell) : String(cell);
  return { shown: text, full: text };
}

/**
 * What a chart of the result shows.
 *
 * @param wanted names of columns: x, y and what tells lines apart; null: the first that fit.
 * @returns null: there is nothing to draw.
 */
export function choose({ columns, rows }: Result, wanted: readonly string[] | null): Choice | null {
  if (rows.length === 0) return null;
  const drawable = columns.flatMap((column, i) => (isNumber(column) || isTime(column) ? [i] : []));
  const numbers = drawable.filter((i) => isNumber(columns[i]));
  const named = (position: number): number => columns.findIndex(({ name }) => name === wanted?.[position]);
  const asked = { x: named(0), y: named(1), by: named(2) };
  const x = drawable.includes(asked.x)
    ? asked.x
    : (drawable.find((i) => isTime(columns[i]) || /^(step|_step)$/u.test(columns[i]!.name)) ??
      drawable.find((i) => i !== numbers.at(-1)));
  if (x === undefined) return null;
  const y = numbers.includes(asked.y) ? asked.y : numbers.find((i) => i !== x);
  if (y === undefined) return null;
  const usual = columns.findIndex((column, i) => i !== x && i !== y && column.type === "text");
  const by = asked.by >= 0 ? asked.by : (wanted?.length ?? 0) >= 2 ? -1 : usual;
  return { x, y, by: by >= 0 ? by : null };
}

/** The lines of a chart, in the order in which their first rows come; rows without a number on x are left out. */
export function traces({ columns, rows }: Result, { x, y, by }: Choice): Trace[] {
  const points = new Map<string, [number, number][]>();
  for (const row of rows) {
    const at = cellNumber(columns[x]!, row[x]);
    if (!Number.isFinite(at) || row[y] === null) continue;
    const name = by === null ? columns[y]!.name : cellTexts(columns[by]!, row[by]).full;
    const line = points.get(name);
    const point: [number, number] = [at, cellNumber(columns[y]!, row[y])];
    if (line) line.push(point);
    else points.set(name, [point]);
  }
  return [...points].map(([name, found]) => {
    found.sort((a, b) => a[0] - b[0]);
    return { name, x: Float64Array.from(found, (p) => p[0]), y: Float64Array.from(found, (p) => p[1]) };
  });
}

/** A name as SQL text: 'it''s'. */
export const quoted = (text: string): string => `'${text.replaceAll("'", "''")}'`;

/** The query that a project's SQL page begins with. */
export function starter(entity: string, project: string): string {
  return `-- the newest runs, and what each came to
SELECT run, state, created_at, last_step, points
FROM runs
WHERE entity = ${quoted(entity)} AND project = ${quoted(project)}
ORDER BY created_at DESC
LIMIT 100`;
}
