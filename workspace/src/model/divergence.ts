// Where two runs begin to differ in a metric, found by going from wide buckets into narrow ones. Pure.

import { type Buckets, coarsen } from "./buckets.ts";

/** A range of steps in which two series differ, or may differ. */
export interface Suspect {
  from: bigint;
  /** The step behind the range. */
  to: bigint;
  /** A range of one step, with the values there; NaN: a series has no point. */
  a: number;
  b: number;
}

/** Means of equal points may have been summed in different orders. */
const ROUNDING = 1e-9;

/** The first ranges in which they differ, at most `most`. Steps behind the end of the shorter series do not count. */
export function suspects(a: Buckets, b: Buckets, most: number): Suspect[] {
  if (a.start.length === 0 || b.start.length === 0) return [];
  const width = Math.max(a.width, b.width);
  const [x, y] = [coarsen(a, width), coarsen(b, width)];
  const end = least(lastOf(x), lastOf(y));
  const found: Suspect[] = [];
  let [i, j] = [0, 0];
  while (found.length < most && (i < x.start.length || j < y.start.length)) {
    const [p, q] = [startOf(x, i), startOf(y, j)];
    const at = p === null ? q! : q === null ? p : least(p, q);
    if (at > end) break;
    const [inX, inY] = [p === at, q === at];
    if (!inX || !inY || differs(x, i, y, j))
      found.push({
        ...{ from: at, to: at + BigInt(width) },
        ...{ a: inX ? x.first[i]! : Number.NaN, b: inY ? y.first[j]! : Number.NaN },
      });
    if (inX) i += 1;
    if (inY) j += 1;
  }
  return found;
}

function differs(x: Buckets, i: number, y: Buckets, j: number): boolean {
  const shift = Number(y.origin - x.origin);
  if (x.count[i] !== y.count[j] || x.odd[i] !== y.odd[j]) return true;
  if (x.firstStep[i] !== y.firstStep[j]! + shift || x.lastStep[i] !== y.lastStep[j]! + shift) return true;
  for (const name of ["min", "max", "first", "last"] as const) if (!Object.is(x[name][i], y[name][j])) return true;
  const [p, q] = [x.mean[i]!, y.mean[j]!];
  return Math.abs(p - q) > ROUNDING * Math.max(Math.abs(x.min[i]!), Math.abs(x.max[i]!));
}

const startOf = (b: Buckets, i: number): bigint | null =>
  i < b.start.length ? b.origin + BigInt(Math.round(b.start[i]!)) : null;
const lastOf = (b: Buckets): bigint => b.origin + BigInt(Math.round(b.lastStep.at(-1)!));
const least = (a: bigint, b: bigint): bigint => (a < b ? a : b);
