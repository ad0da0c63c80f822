// Smoothing of bucketed series. Pure. Each function receives x, the mean and the number of points of every bucket, and
// returns one smoothed value for each bucket; a bucket without a finite value (NaN mean) gets NaN and only affects the
// distance. Weights are counts, so the result hardly depends on the width of the buckets.

export type Method = "none" | "time" | "ema" | "gaussian" | "average";
export const METHODS: readonly Method[] = ["none", "time", "ema", "gaussian", "average"];
export const METHOD_WORDS: Record<Method, string> = {
  none: "None",
  time: "Time-weighted EMA",
  ema: "EMA (TensorBoard)",
  gaussian: "Gaussian",
  average: "Running average",
};

export interface Points {
  x: Float64Array;
  mean: Float64Array;
  count: Float64Array;
}

/**
 * @param weight from 0 (no smoothing) to 1, exclusive.
 * @param range the x-range of the whole chart, not of what is zoomed to: zooming must not change the curve.
 */
export function smooth(points: Points, method: Method, weight: number, range: number): Float64Array {
  if (method === "none" || !(weight > 0)) return points.mean;
  if (method === "time") return timeWeighted(points, weight, range);
  if (method === "ema") return exponential(points, weight);
  if (method === "gaussian") return kernel(points, Math.max(1e-12, (weight * range) / 20), gaussian);
  return kernel(points, Math.max(1e-12, (weight * range) / 10), box);
}

/** W&B's time-weighted EMA: the weight of the past falls with the distance in x, 1,000 units being the whole range. */
export function timeWeighted({ x, mean, count }: Points, weight: number, range: number): Float64Array {
  const w = Math.min(Math.sqrt(weight), 0.999);
  const scale = range > 0 ? 1000 / range : 0;
  const out = new Float64Array(x.length);
  let sum = 0;
  let total = 0;
  let last = x[0] ?? 0;
  for (let i = 0; i < x.length; i += 1) {
    const decay = w ** ((x[i]! - last) * scale);
    last = x[i]!;
    sum *= decay;
    total *= decay;
    if (Number.isFinite(mean[i]!)) {
      sum += count[i]! * mean[i]!;
      total += count[i]!;
      out[i] = sum / total;
    } else out[i] = Number.NaN;
  }
  return out;
}

/** TensorBoard's debiased EMA over points; a bucket of n points decays by w^n, as n equal points would. */
export function exponential({ x, mean, count }: Points, weight: number): Float64Array {
  const w = Math.min(weight, 0.9999);
  const out = new Float64Array(x.length);
  let state = 0;
  let seen = 0;
  for (let i = 0; i < x.length; i += 1) {
    if (!Number.isFinite(mean[i]!)) {
      out[i] = Number.NaN;
      continue;
    }
    const decay = w ** count[i]!;
    state = state * decay + mean[i]! * (1 - decay);
    seen += count[i]!;
    out[i] = state / (1 - w ** seen);
  }
  return out;
}

const gaussian = (distance: number): number => Math.exp(-0.5 * distance * distance);
const box = (distance: number): number => (distance <= 1 ? 1 : 0);

/** A centred window; its reach is three widths, so each point looks at its neighbours only. */
function kernel({ x, mean, count }: Points, width: number, shape: (distance: number) => number): Float64Array {
  const out = new Float64Array(x.length);
  let from = 0;
  for (let i = 0; i < x.length; i += 1) {
    while (x[i]! - x[from]! > 3 * width) from += 1;
    let sum = 0;
    let total = 0;
    for (let j = from; j < x.length && x[j]! - x[i]! <= 3 * width; j += 1) {
      if (!Number.isFinite(mean[j]!)) continue;
      const weight = count[j]! * shape(Math.abs(x[j]! - x[i]!) / width);
      sum += weight * mean[j]!;
      total += weight;
    }
    out[i] = Number.isFinite(mean[i]!) && total > 0 ? sum / total : Number.NaN;
  }
  return out;
}
