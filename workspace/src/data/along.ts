// Series over the values of another metric: both are read, and joined bucket by bucket.

import { along } from "../model/along.ts";
import type { Series, Wanted } from "./charts.ts";
import type { PanelSource } from "./panel.ts";

const KEPT_MS = 2000;

export class AlongSource implements PanelSource {
  #source: PanelSource;
  // All charts of a page have the same x, which is read once.
  #reads = new Map<string, Promise<Series>>();

  constructor(source: PanelSource) {
    this.#source = source;
  }

  async want(wanted: Wanted, signal: AbortSignal): Promise<Series> {
    const { along: metric, ...plain } = wanted;
    if (metric === undefined) return this.#source.want(wanted, signal);
    const [y, x] = await Promise.all([this.#source.want(plain, signal), this.#read({ ...plain, key: metric })]);
    const buckets = along(y.buckets, x.buckets);
    return { ...y, buckets, points: buckets.count.reduce((sum, n) => sum + n, 0), along: metric };
  }

  #read(wanted: Wanted): Promise<Series> {
    const text = JSON.stringify(wanted);
    const known = this.#reads.get(text);
    if (known) return known;
    const read = this.#source.want(wanted, new AbortController().signal);
    this.#reads.set(text, read);
    setTimeout(() => this.#reads.delete(text), KEPT_MS);
    return read;
  }
}
