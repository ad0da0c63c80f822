// The range and the ticks of an axis. Pure.

/** Adds a small margin around the values; a single value gets a range of its own. */
export function padded(low: number, high: number, log: boolean): [number, number] {
  if (!(low <= high)) return log ? [0.1, 10] : [0, 1];
  if (log) {
    const decades = Math.max(Math.log10(high / low), 0.05);
    return [low / 10 ** (decades * 0.05), high * 10 ** (decades * 0.05)];
  }
  const room = high - low || Math.abs(high) * 0.05 || 0.5;
  return [low - room * 0.04, high + room * 0.06];
}

const SECONDS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];

/** About `wanted` round numbers in [low, high]. */
export function places(low: number, high: number, wanted: number, time: boolean): number[] {
  const span = high - low;
  if (!(span > 0) || wanted < 1) return [];
  const rough = span / wanted;
  const step = (time && rough > 0.5 && SECONDS.find((seconds) => seconds >= rough)) || round(rough);
  const found: number[] = [];
  // Counted, not summed up: a sum drifts, and does not move at all where the step is below the resolution.
  const first = Math.ceil(low / step - 1e-9);
  for (let i = 0; i <= 2 * wanted + 2; i += 1) {
    const at = (first + i) * step;
    if (at > high + step * 1e-6) break;
    const plain = Number(at.toPrecision(12)); // 0.3 instead of 0.30000000000000004, where that is the same place
    found.push(Math.abs(plain - at) < step * 1e-6 ? plain : at);
  }
  return found;
}

/** Powers of ten in [low, high]; for less than a decade, round numbers. */
export function decades(low: number, high: number, wanted: number): number[] {
  const [from, to] = [Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(high) + 1e-9)];
  if (to - from < 1) return places(low, high, wanted, false).filter((at) => at > 0);
  const every = Math.max(1, Math.ceil((to - from + 1) / Math.max(1, wanted)));
  const found: number[] = [];
  for (let power = from; power <= to; power += every) found.push(Number(`1e${power}`));
  return found;
}

function round(rough: number): number {
  const power = 10 ** Math.floor(Math.log10(rough));
  return ([1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough * (1 - 1e-9)) ?? 10) * power;
}
