// The first step at which two runs differ, for each metric that both have. Reads buckets of whole runs, then smaller ones
// where they differ, down to single steps.

import { signal } from "@preact/signals";
import { type Suspect, suspects } from "../model/divergence.ts";
import { type ApiError, get, isAbort, type MetricNames, told } from "./api.ts";
import { Charts } from "./charts.ts";

const BUCKETS = 512;
/** How many metrics are looked at. */
const MOST = 200;
/** A wide bucket that differs has a step that differs, but for the end of the shorter run. */
const TRIES = 2;

export interface Difference extends Suspect {
  metric: string;
}

export interface Divergence {
  /** The earliest first. */
  differences: readonly Difference[];
  looked: number;
  shared: number;
}

export class FirstDifferences {
  readonly found = signal<Divergence | null>(null);
  readonly error = signal<ApiError | null>(null);
  #path: string;
  #abort = new AbortController();

  constructor(path: string) {
    this.#path = path;
  }

  /** Compares two runs; null: there are not two. */
  want(runs: readonly [string, string] | null): void {
    this.#abort.abort();
    this.#abort = new AbortController();
    this.found.value = null;
    this.error.value = null;
    if (runs) void this.#read(runs, this.#abort.signal);
  }

  close(): void {
    this.#abort.abort();
  }

  async #read(runs: readonly [string, string], stop: AbortSignal): Promise<void> {
    try {
      const names = await get<MetricNames>("/v1/metrics", { path: this.#path, runs }, stop);
      const shared = names.metrics.filter((metric) => metric.runs.length === runs.length).map(({ name }) => name);
      const looked = shared.slice(0, MOST);
      const charts = new Charts(this.#path);
      const all = await Promise.all(looked.map((metric) => first(charts, metric, runs, null, stop)));
      const differences = all.flatMap((found, i): Difference[] => (found ? [{ ...found, metric: looked[i]! }] : []));
      differences.sort((a, b) => (a.from < b.from ? -1 : a.from > b.from ? 1 : 0));
      this.found.value = { differences, looked: looked.length, shared: shared.length };
    } catch (error) {
      if (!isAbort(error)) this.error.value = told(error);
    }
  }
}

async function first(
  charts: Charts,
  key: string,
  runs: readonly [string, string],
  range: Suspect | null,
  stop: AbortSignal,
): Promise<Suspect | null> {
  const steps = range ? { minStep: String(range.from), maxStep: String(range.to) } : {};
  const [a, b] = await Promise.all(
    runs.map((run) => charts.want({ key, run, buckets: BUCKETS, times: false, ...steps }, stop)),
  );
  for (const suspect of suspects(a!.buckets, b!.buckets, TRIES)) {
    if (suspect.to - suspect.from === 1n) return suspect;
    const found = await first(charts, key, runs, suspect, stop);
    if (found) return found;
  }
  return null;
}
