// Buckets of a metric over the values of another one instead of over steps. Pure.

import { type Buckets, picked } from "./buckets.ts";

/**
 * The buckets of y, each with x at its first step: the last value of x at or before that step. Buckets before the first
 * value of x are left out. Where x itself is in buckets, it lies between the first and the last value of its bucket.
 */
export function along(y: Buckets, x: Buckets): Buckets {
  const shift = Number(y.origin - x.origin);
  const kept: number[] = [];
  const at: number[] = [];
  let j = -1;
  for (let i = 0; i < y.start.length; i += 1) {
    const step = y.firstStep[i]! + shift;
    while (j + 1 < x.start.length && x.firstStep[j + 1]! <= step) j += 1;
    if (j < 0) continue;
    const place = within(x, j, step);
    if (!Number.isFinite(place)) continue;
    kept.push(i);
    at.push(place);
  }
  return { ...picked(y, kept), along: Float64Array.from(at) };
}

function within(x: Buckets, j: number, step: number): number {
  const [from, to, first, last] = [x.firstStep[j]!, x.lastStep[j]!, x.first[j]!, x.last[j]!];
  return to > from ? first + Math.min(1, (step - from) / (to - from)) * (last - first) : first;
}

/** The same buckets in the order of their places along the other metric. */
export function ascending(b: Buckets): Buckets {
  const at = b.along;
  if (at === null || at.every((x, i) => i === 0 || at[i - 1]! <= x)) return b;
  const order = Array.from(at, (_, i) => i).toSorted((i, j) => at[i]! - at[j]!);
  return picked(b, order);
}
