// Converts buckets to lines: positions on the axis, smoothed values, ranges, and the point under the cursor.
// Pure: no canvas, no framework.

import { ascending } from "../model/along.ts";
import { type Buckets, lowerBound, nearest } from "../model/buckets.ts";
import { padded } from "../model/scale.ts";
import { type Method, smooth } from "../model/smoothing.ts";
import { type Axis, isTimed } from "../model/view.ts";

export interface Input {
  /** Its own in a chart: the run, and the metric where there are several. */
  id: string;
  run: string;
  metric: string;
  name: string;
  slot: number;
  running: boolean;
  /** Unix seconds at which the run started. */
  startedAt: number;
  writers: readonly string[];
  /** The whole run; smoothing needs the past, also while zoomed. */
  overview: Buckets;
  /** The zoomed window in finer buckets; null: there is no zoom, or they have not arrived yet. */
  fine: Buckets | null;
}

export interface Line extends Omit<Input, "overview" | "fine"> {
  buckets: Buckets;
  /** The positions of the first and the last point of each bucket, and the middle between them. */
  x0: Float64Array;
  x1: Float64Array;
  xm: Float64Array;
  smoothed: Float64Array;
}

export interface Look {
  axis: Axis;
  method: Method;
  weight: number;
  log: boolean;
}

/** The lowest origin of all, from which x counts on an axis of steps. */
export function originOf(inputs: readonly Input[]): bigint {
  return (
    inputs.reduce<bigint | null>(
      (least, { overview: { origin } }) => (least === null || origin < least ? origin : least),
      null,
    ) ?? 0n
  );
}

/** Lines in the order of the inputs, without those that have no points. */
export function linesOf(given: readonly Input[], look: Look): Line[] {
  const inputs = given.map((input) => ({
    ...input,
    overview: ascending(input.overview),
    fine: input.fine && ascending(input.fine),
  }));
  const origin = originOf(inputs);
  const full = rangeOf(inputs.map((input) => positions(input.overview, look.axis, input.startedAt, origin)));
  const range = full ? full[1] - full[0] : 0;
  return inputs
    .filter((input) => input.overview.start.length > 0)
    .map(({ overview, fine, ...about }) => {
      const buckets = fine && fine.start.length > 0 ? fine : overview;
      const at = positions(buckets, look.axis, about.startedAt, origin);
      return {
        ...about,
        buckets,
        ...at,
        smoothed: smoothed(overview, buckets, at.xm, look, about.startedAt, origin, range),
      };
    });
}

/** A line through points that are all there, such as the rows of a query; x ascends. */
export function lineThrough(name: string, slot: number, x: Float64Array, y: Float64Array): Line {
  const one = new Float64Array(x.length).fill(1);
  const finite = y.map((at) => (Number.isFinite(at) ? at : Number.NaN));
  const buckets: Buckets = {
    ...{ origin: 0n, width: 1, start: x, count: one, min: finite, max: finite, mean: finite, first: y, last: y },
    ...{ firstStep: x, lastStep: x, odd: y.map((at) => (Number.isFinite(at) ? 0 : 1)) },
    ...{ minWriter: null, maxWriter: null, time: null, along: null },
  };
  const about = { id: name, run: name, metric: "", name, slot, running: false, startedAt: 0, writers: [] };
  return { ...about, buckets, x0: x, x1: x, xm: x, smoothed: finite };
}

/** The range of x of some lines; null: there are no points. */
export function rangeOf(lines: readonly { x0: Float64Array; x1: Float64Array }[]): [number, number] | null {
  let [low, high] = [Infinity, -Infinity];
  for (const { x0, x1 } of lines) {
    if (x0.length === 0) continue;
    low = Math.min(low, x0[0]!);
    high = Math.max(high, x1.at(-1)!);
  }
  return low <= high ? [low, high] : null;
}

/**
 * The range of y within [from, to], including every drawn extreme.
 *
 * @param floor the low end, where it was chosen; and `ceiling` the high one
 */
export function heightOf(
  lines: readonly Line[],
  from: number,
  to: number,
  log: boolean,
  floor?: number,
  ceiling?: number,
): [number, number] {
  let [low, high] = [Infinity, -Infinity];
  for (const { x0, x1, buckets } of lines) {
    for (let i = Math.max(0, lowerBound(x1, from) - 1); i < x0.length; i += 1) {
      const [min, max] = [buckets.min[i]!, buckets.max[i]!];
      const outside = x1[i]! < from || x0[i]! > to;
      if (!outside && min < low && (!log || min > 0)) low = min;
      if (!outside && log && min <= 0 && buckets.mean[i]! > 0) low = Math.min(low, buckets.mean[i]!);
      if (!outside && max > high) high = max;
      if (x0[i]! > to) break;
    }
  }
  const [least, most] = padded(low, high, log);
  const bottom = floor !== undefined && (!log || floor > 0) ? floor : least;
  const top = ceiling !== undefined && (!log || ceiling > 0) ? ceiling : most;
  if (bottom < top) return [bottom, top];
  // Everything lies beyond the chosen end: the lines are outside of the picture, as was chosen.
  const span = log ? Math.abs(bottom) * 9 : Math.abs(bottom) || 1;
  return floor !== undefined ? [bottom, bottom + span] : [log ? top / 10 : top - (Math.abs(top) || 1), top];
}

export interface Hit {
  line: Line;
  /** The bucket whose first point is nearest in x. */
  index: number;
  x: number;
  /** As drawn. */
  y: number;
}

/** The nearest point to x of each line that has points there; lines that end earlier are left out. */
export function hits(lines: readonly Line[], x: number, reach: number): Hit[] {
  const found: Hit[] = [];
  for (const line of lines) {
    const index = nearest(line.xm, x);
    if (index < 0) continue;
    const inside = x >= line.x0[index]! && x <= line.x1[index]!;
    if (!inside && Math.abs(line.xm[index]! - x) > reach) continue;
    found.push({ line, index, x: line.xm[index]!, y: line.smoothed[index]! });
  }
  return found;
}

function positions(b: Buckets, axis: Axis, startedAt: number, origin: bigint): Pick<Line, "x0" | "x1" | "xm"> {
  if (axis !== "step") {
    const shift = axis === "relative" ? startedAt : 0;
    const x = ((isTimed(axis) ? b.time : b.along) ?? new Float64Array(b.start.length).fill(Number.NaN)).map(
      (at) => at - shift,
    );
    return { x0: x, x1: x, xm: x };
  }
  const shift = Number(b.origin - origin);
  const x0 = shift === 0 ? b.firstStep : b.firstStep.map((at) => at + shift);
  const x1 = shift === 0 ? b.lastStep : b.lastStep.map((at) => at + shift);
  return { x0, x1, xm: x0.map((at, i) => (at + x1[i]!) / 2) };
}

function smoothed(
  overview: Buckets,
  shown: Buckets,
  xm: Float64Array,
  look: Look,
  startedAt: number,
  origin: bigint,
  range: number,
): Float64Array {
  if (look.method === "none" || look.weight === 0) return shown.mean;
  if (shown === overview || !overview.start.every((at, i) => i === 0 || overview.start[i - 1]! <= at))
    return smooth({ x: xm, mean: shown.mean, count: shown.count }, look.method, look.weight, range);
  // Includes the points beside the window: zooming must not change the curve.
  const whole = positions(overview, look.axis, startedAt, origin).xm;
  const left = lowerBound(overview.start, shown.start[0]!);
  const right = lowerBound(overview.start, shown.start.at(-1)! + shown.width);
  const join = (a: Float64Array, b: Float64Array): Float64Array =>
    Float64Array.from([...a.subarray(0, left), ...b, ...a.subarray(right)]);
  const all = smooth(
    { x: join(whole, xm), mean: join(overview.mean, shown.mean), count: join(overview.count, shown.count) },
    look.method,
    look.weight,
    range,
  );
  return all.slice(left, left + xm.length);
}
