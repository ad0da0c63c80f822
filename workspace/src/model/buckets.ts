// Buckets of one series: the extremes of each 2^k steps, so that no visible detail is lost. Pure. Edges are multiples
// of the width, so two neighbours merge exactly into one of the next width; only finer ones must be requested. x is in
// steps from `origin`, which is not 0 only where steps are too large for a float64.

export interface Buckets {
  origin: bigint;
  /** Steps of one bucket, a power of two. */
  width: number;
  /** The start of each bucket, ascending. */
  start: Float64Array;
  count: Float64Array;
  /** Of the finite values; NaN: there are none. */
  min: Float64Array;
  max: Float64Array;
  mean: Float64Array;
  /** As logged, finite or not. */
  first: Float64Array;
  last: Float64Array;
  firstStep: Float64Array;
  lastStep: Float64Array;
  /** The numbers of NaN and infinite values. */
  odd: Float64Array;
  /** With several writers: the writers of the least and the greatest value. */
  minWriter: Int32Array | null;
  maxWriter: Int32Array | null;
  /** Unix seconds of the first point, if requested. */
  time: Float64Array | null;
  /** The value of the metric of the x-axis, where that is one (along.ts). */
  along: Float64Array | null;
}

const FLOATS = ["start", "count", "min", "max", "mean", "first", "last", "firstStep", "lastStep", "odd"] as const;
const OPTIONAL = ["minWriter", "maxWriter", "time", "along"] as const;

export function empty(width = 1, origin = 0n): Buckets {
  const none = new Float64Array(0);
  const made = Object.fromEntries(FLOATS.map((name) => [name, none])) as Pick<Buckets, (typeof FLOATS)[number]>;
  return { origin, width, ...made, minWriter: null, maxWriter: null, time: null, along: null };
}

/** The same points in buckets of `width` steps, which must be at least as wide. */
export function coarsen(b: Buckets, width: number): Buckets {
  if (width <= b.width || b.start.length === 0) return width > b.width ? { ...b, width } : b;
  // Edges are multiples of the width counted from step 0, not from the origin.
  const shift = Number(b.origin % BigInt(width));
  const square = (i: number): number => Math.floor((b.start[i]! + shift) / width);
  const heads: number[] = [];
  for (let i = 0; i < b.start.length; i += 1) if (i === 0 || square(i) !== square(i - 1)) heads.push(i);
  const out = allocate(heads.length, b);
  heads.forEach((from, row) => {
    const to = heads[row + 1] ?? b.start.length;
    mergeInto(out, row, b, from, to);
    out.start[row] = square(from) * width - shift;
  });
  return { ...out, width };
}

/** `b` with everything from the tail's first bucket on replaced by the tail; widths are made equal first. */
export function withTail(b: Buckets, tail: Buckets): Buckets {
  if (tail.start.length === 0) return b;
  if (b.start.length === 0 || tail.origin !== b.origin) return tail;
  const width = Math.max(b.width, tail.width);
  const [head, rest] = [coarsen(b, width), coarsen(tail, width)];
  const keep = lowerBound(head.start, rest.start[0]!);
  const out = allocate(keep + rest.start.length, b);
  for (const name of FLOATS) {
    out[name].set(head[name].subarray(0, keep));
    out[name].set(rest[name], keep);
  }
  for (const name of OPTIONAL) {
    const [before, after] = [head[name], rest[name]];
    if (before) out[name]?.set(before.subarray(0, keep));
    if (after) out[name]?.set(after, keep);
  }
  return { ...out, width };
}

/** The index of the bucket whose first point is nearest to x; −1: there are no buckets. */
export function nearest(x: Float64Array, at: number): number {
  if (x.length === 0) return -1;
  const above = lowerBound(x, at);
  if (above === 0) return 0;
  if (above === x.length) return above - 1;
  return at - x[above - 1]! <= x[above]! - at ? above - 1 : above;
}

/** The first index whose value is not below `at`. */
export function lowerBound(x: Float64Array, at: number): number {
  let low = 0;
  let high = x.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (x[middle]! < at) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** How many buckets lie in [from, to), by index, how many points they have, and of these how many NaN or infinite. */
export function totals(b: Buckets, from = 0, to = b.count.length): { buckets: number; points: number; odd: number } {
  let [points, odd] = [0, 0];
  for (let i = from; i < to; i += 1) {
    points += b.count[i]!;
    odd += b.odd[i]!;
  }
  return { buckets: Math.max(0, to - from), points, odd };
}

/** The text of the badge: "all 812 points" where each bucket is a point, else the numbers of buckets and points. */
export function fidelity(buckets: number, points: number, say: (n: number) => string): string {
  if (points === 0) return "no points";
  if (points === 1) return "1 point";
  if (points === buckets) return `all ${say(points)} points`;
  return `${say(buckets)} buckets of ${say(points)}, extremes exact`;
}

/** Some of the buckets, in the order of their indexes. */
export function picked(b: Buckets, indexes: readonly number[]): Buckets {
  const out = allocate(indexes.length, b);
  for (const name of [...FLOATS, ...OPTIONAL]) {
    const [from, to] = [b[name], out[name]];
    if (from && to) indexes.forEach((at, row) => (to[row] = from[at]!));
  }
  return out;
}

function allocate(length: number, like: Buckets): Buckets {
  const made = Object.fromEntries(FLOATS.map((name) => [name, new Float64Array(length)])) as Pick<
    Buckets,
    (typeof FLOATS)[number]
  >;
  return {
    origin: like.origin,
    width: like.width,
    ...made,
    minWriter: like.minWriter && new Int32Array(length),
    maxWriter: like.maxWriter && new Int32Array(length),
    time: like.time && new Float64Array(length),
    along: like.along && new Float64Array(length),
  };
}

function mergeInto(out: Buckets, row: number, b: Buckets, from: number, to: number): void {
  let [count, odd, sum, finite, least, greatest] = [0, 0, 0, 0, -1, -1];
  for (let i = from; i < to; i += 1) {
    count += b.count[i]!;
    odd += b.odd[i]!;
    const n = b.count[i]! - b.odd[i]!;
    if (n > 0) {
      sum += n * b.mean[i]!;
      finite += n;
      if (least < 0 || b.min[i]! < b.min[least]!) least = i;
      if (greatest < 0 || b.max[i]! > b.max[greatest]!) greatest = i;
    }
  }
  out.count[row] = count;
  out.odd[row] = odd;
  out.mean[row] = finite > 0 ? sum / finite : Number.NaN;
  out.min[row] = least < 0 ? Number.NaN : b.min[least]!;
  out.max[row] = greatest < 0 ? Number.NaN : b.max[greatest]!;
  out.first[row] = b.first[from]!;
  out.last[row] = b.last[to - 1]!;
  out.firstStep[row] = b.firstStep[from]!;
  out.lastStep[row] = b.lastStep[to - 1]!;
  if (out.minWriter && least >= 0) out.minWriter[row] = b.minWriter![least]!;
  if (out.maxWriter && greatest >= 0) out.maxWriter[row] = b.maxWriter![greatest]!;
  if (out.time) out.time[row] = b.time![from]!;
  if (out.along) {
    out.along[row] = 0;
    for (let i = from; i < to; i += 1) out.along[row]! += (b.along![i]! * b.count[i]!) / count;
  }
}
