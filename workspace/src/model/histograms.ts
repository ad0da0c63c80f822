// Logged histograms, and a heat map of them over steps. Pure.

export interface Histogram {
  counts: readonly number[];
  /** One more than counts, ascending. */
  edges: readonly number[];
}

/** The histogram that was logged; null: the value is another, or not a valid one. */
export function histogramOf(value: unknown): Histogram | null {
  if (typeof value !== "object" || value === null) return null;
  const { _type, values, bins } = value as Record<string, unknown>;
  if (_type !== "histogram" || !isNumbers(values) || !isNumbers(bins)) return null;
  const valid = values.length > 0 && bins.length === values.length + 1 && values.every((count) => count >= 0);
  return valid && bins.every((edge, i) => i === 0 || edge >= bins[i - 1]!) ? { counts: values, edges: bins } : null;
}

const isNumbers = (value: unknown): value is number[] => Array.isArray(value) && value.every(Number.isFinite);

/** The number of values in a histogram. */
export const total = ({ counts }: Histogram): number => counts.reduce((sum, count) => sum + count, 0);

/** The number of bins from the first to the last that is not empty. */
export const spread = ({ counts }: Histogram): number =>
  counts.findLastIndex((count) => count > 0) - counts.findIndex((count) => count > 0) + 1;

/** The range of the values of some histograms, without empty bins at the ends; null: there are no values. */
export function valueRange(all: readonly Histogram[]): [number, number] | null {
  let [low, high] = [Infinity, -Infinity];
  for (const { counts, edges } of all) {
    const first = counts.findIndex((count) => count > 0);
    if (first < 0) continue;
    const last = counts.findLastIndex((count) => count > 0);
    low = Math.min(low, edges[first]!);
    high = Math.max(high, edges[last + 1]!);
  }
  if (low > high) return null;
  if (low < high) return [low, high];
  const room = Math.abs(low) * 0.05 || 0.5; // all values are equal
  return [low - room, high + room];
}

/** The number of values in each of `rows` bins of equal width; the values of a bin count as spread evenly over it. */
export function rebinned(
  { counts, edges }: Histogram,
  [low, high]: readonly [number, number],
  rows: number,
): Float64Array {
  const out = new Float64Array(rows);
  const height = (high - low) / rows;
  counts.forEach((count, i) => {
    if (count === 0) return;
    const [from, to] = [edges[i]!, edges[i + 1]!];
    const first = clamp(Math.floor((from - low) / height), rows);
    const last = clamp(Math.ceil((to - low) / height) - 1, rows);
    if (first >= last || to <= from) {
      out[first]! += count;
      return;
    }
    for (let row = first; row <= last; row += 1) {
      const overlap = Math.min(to, low + (row + 1) * height) - Math.max(from, low + row * height);
      out[row]! += (count * Math.max(0, overlap)) / (to - from);
    }
  });
  return out;
}

const clamp = (row: number, rows: number): number => Math.min(rows - 1, Math.max(0, row));

export interface HeatMap {
  range: [number, number];
  /** Ascending. */
  steps: number[];
  /** The share of the values of a step in each row, from the lowest row on. */
  shares: Float64Array[];
  /** The greatest share. */
  most: number;
}

/** A heat map of the histograms of a key; those of several writers at a step are added. null: there are no values. */
export function heatMap(all: readonly { step: number; histogram: Histogram }[], rows: number): HeatMap | null {
  const range = valueRange(all.map(({ histogram }) => histogram));
  if (!range) return null;
  const columns = new Map<number, Float64Array>();
  for (const { step, histogram } of all) {
    const bins = rebinned(histogram, range, rows);
    const known = columns.get(step);
    columns.set(step, known ? known.map((count, row) => count + bins[row]!) : bins);
  }
  const steps = [...columns.keys()].toSorted((a, b) => a - b);
  const shares = steps.map((step) => {
    const bins = columns.get(step)!;
    const sum = bins.reduce((so, count) => so + count, 0) || 1;
    return bins.map((count) => count / sum);
  });
  return { range, steps, shares, most: Math.max(...shares.map((column) => Math.max(...column))) || 1 };
}
