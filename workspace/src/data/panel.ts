// The data of one chart: an overview of each run, and while zoomed finer buckets of the window. Requests missing data,
// keeps the old picture until the new data arrives, and follows running runs. Independent of any framework.

import { type Buckets, coarsen, withTail } from "../model/buckets.ts";
import { type Axis, isTimed, metricOf } from "../model/view.ts";
import { type ApiError, isAbort, told } from "./api.ts";
import type { Series, Wanted } from "./charts.ts";

/** The source of series: the server, or data that a page has read already. */
export interface PanelSource {
  want(wanted: Wanted, signal: AbortSignal): Promise<Series>;
}

export interface Spec {
  runs: readonly { id: string; startedAt: number }[];
  axis: Axis;
  zoom: readonly [number, number] | null;
  /** Buckets over the width of the plot. */
  buckets: number;
}

export interface Asked {
  buckets: number;
  /** Steps; null: the whole run. */
  window: readonly [string, string] | null;
}

interface Entry {
  startedAt: number;
  overview: Series | null;
  fine: Series | null;
  /** The window of `fine`, or of the pending request, as text. */
  window: string;
  /** How the overview and the window were asked for. */
  asked: Asked;
  askedFine: Asked | null;
  error: ApiError | null;
  abort: AbortController;
  refine: AbortController;
  /** More data exists than was read; `whole`: data that was read may be outdated, too. */
  stale: "" | "tail" | "whole";
}

const TAIL_MS = 1000;

export class PanelData {
  readonly entries = new Map<string, Entry>();
  #key: string;
  #charts: PanelSource;
  #changed: () => void;
  #spec: Spec | null = null;
  #visible = false;
  #timer = 0;
  #readAt = 0;

  constructor(key: string, charts: PanelSource, changed: () => void) {
    this.#key = key;
    this.#charts = charts;
    this.#changed = changed;
  }

  /** Sets what to show. */
  show(spec: Spec): void {
    this.#spec = spec;
    const wanted = new Map(spec.runs.map((run) => [run.id, run]));
    for (const [id, entry] of this.entries)
      if (!wanted.has(id)) {
        entry.abort.abort();
        entry.refine.abort();
        this.entries.delete(id);
      }
    if (this.#visible) this.#fill();
    this.#changed();
  }

  /** An invisible chart requests nothing. */
  seen(visible: boolean): void {
    if (visible === this.#visible) return;
    this.#visible = visible;
    if (visible) this.#fill();
  }

  /** A run has moved, or (`cut`) some of its points were superseded. */
  moved(run: string, cut: boolean): void {
    const entry = this.entries.get(run);
    if (!entry) return;
    entry.stale = cut || entry.stale === "whole" ? "whole" : "tail";
    if (this.#visible) this.#soon();
  }

  /** The overview and the window of a run, as far as they have places on this axis. */
  shownOf(run: string, axis: Axis): { overview: Series | null; fine: Series | null } {
    const { overview = null, fine = null } = this.entries.get(run) ?? {};
    const fitting = (series: Series | null): Series | null => (series && !lacks(series, axis) ? series : null);
    return { overview: fitting(overview), fine: fitting(fine) };
  }

  /** How the shown buckets of a run were asked for. */
  askedFor(run: string): Asked {
    const entry = this.entries.get(run);
    return (entry?.fine ? entry.askedFine : entry?.asked) ?? { buckets: 1, window: null };
  }

  /** Repeats failed requests. */
  retry(): void {
    for (const entry of this.entries.values()) entry.error = null;
    this.#fill();
  }

  close(): void {
    clearTimeout(this.#timer);
    for (const entry of this.entries.values()) {
      entry.abort.abort();
      entry.refine.abort();
    }
    this.entries.clear();
  }

  #soon(): void {
    if (this.#timer !== 0) return;
    const wait = Math.max(0, this.#readAt + TAIL_MS - Date.now());
    this.#timer = window.setTimeout(() => {
      this.#timer = 0;
      this.#readAt = Date.now();
      if (this.#visible) this.#fill();
    }, wait);
  }

  #fill(): void {
    const spec = this.#spec;
    if (!spec) return;
    for (const { id, startedAt } of spec.runs) {
      let entry = this.entries.get(id);
      if (!entry) {
        const [abort, refine] = [new AbortController(), new AbortController()];
        const asked: Asked = { buckets: spec.buckets, window: null };
        entry = {
          ...{ startedAt, overview: null, fine: null, window: "", asked, askedFine: null, error: null, abort, refine },
          stale: "whole",
        };
        this.entries.set(id, entry);
      }
      entry.startedAt = startedAt;
      const lacking = entry.overview !== null && lacks(entry.overview, spec.axis);
      if (entry.error === null && (entry.stale || lacking))
        this.#read(id, entry, lacking ? "whole" : entry.stale || "whole");
      this.#refine(id, entry);
    }
  }

  #read(run: string, entry: Entry, what: "tail" | "whole"): void {
    const spec = this.#spec!;
    const before = what === "tail" ? entry.overview : null;
    const wanted: Wanted = { key: this.#key, run, buckets: spec.buckets, ...placesOf(spec.axis) };
    const last = before?.buckets.start.at(-1);
    // A point in flight may arrive later, so the last bucket is read once more.
    if (before && last !== undefined) wanted.minStep = String(before.buckets.origin + BigInt(last));
    entry.stale = "";
    this.#want(entry, wanted, entry.abort.signal, (found) => {
      if (wanted.minStep === undefined || !before) {
        entry.overview = found;
        entry.asked = { buckets: wanted.buckets, window: null };
      } else if (found.buckets.start.length > 0 && found.buckets.origin !== before.buckets.origin)
        entry.stale = "whole";
      else entry.overview = grown(before, found, 2 * spec.buckets);
      entry.error = null;
      this.#refine(run, entry);
      if (entry.stale) this.#soon();
    });
  }

  #refine(run: string, entry: Entry): void {
    const spec = this.#spec!;
    const window = spec.zoom && entry.overview ? windowOf(entry.overview.buckets, spec, entry.startedAt) : null;
    const text = window ? [...window, metricOf(spec.axis) ?? ""].join(" ") : "";
    if (text === entry.window) return;
    entry.refine.abort();
    entry.refine = new AbortController();
    entry.window = text;
    if (!window) {
      entry.fine = null;
      return;
    }
    const wanted: Wanted = {
      key: this.#key,
      run,
      buckets: Math.round(1.5 * spec.buckets),
      minStep: window[0],
      maxStep: window[1],
      ...placesOf(spec.axis),
    };
    this.#want(entry, wanted, entry.refine.signal, (found) => {
      entry.fine = found;
      entry.askedFine = { buckets: wanted.buckets, window };
    });
  }

  #want(entry: Entry, wanted: Wanted, signal: AbortSignal, take: (found: Series) => void): void {
    this.#charts.want(wanted, signal).then(
      (found) => {
        take(found);
        this.#changed();
      },
      (error: unknown) => {
        if (isAbort(error)) return;
        entry.error = told(error);
        this.#changed();
      },
    );
  }
}

/** What a request has beside the values for the places on an axis. */
function placesOf(axis: Axis): Pick<Wanted, "times" | "along"> {
  const along = metricOf(axis);
  return along === null ? { times: isTimed(axis) } : { times: false, along };
}

/** Whether a series has no places on this axis. */
function lacks(series: Series, axis: Axis): boolean {
  return (isTimed(axis) && series.buckets.time === null) || (series.along ?? null) !== metricOf(axis);
}

function grown(before: Series, tail: Series, most: number): Series {
  let buckets = withTail(before.buckets, tail.buckets);
  while (buckets.start.length > most) buckets = coarsen(buckets, buckets.width * 2);
  return { ...before, buckets, points: buckets.count.reduce((sum, n) => sum + n, 0) };
}

/** The steps of the window and a little around them, as texts; null: the overview has every point already. */
function windowOf(b: Buckets, spec: Spec, startedAt: number): [string, string] | null {
  if (b.count.every((n) => n === 1) || !spec.zoom) return null;
  let [from, to] = spec.zoom;
  if (spec.axis !== "step") {
    const places = isTimed(spec.axis) ? b.time : b.along;
    if (!places) return null;
    const shift = spec.axis === "relative" ? startedAt : 0;
    const inside = (at: number): boolean => at >= from + shift && at <= to + shift;
    let first = places.findIndex(inside) - 1;
    let end = places.findLastIndex(inside) + 1;
    if (end === 0) {
      // The window lies between two buckets, or in the last one.
      first = places.findLastIndex((at) => at <= from + shift);
      end = places.findIndex((at) => at >= to + shift);
      if (first < 0) return null;
      if (end < 0) end = places.length;
    }
    [from, to] = [b.firstStep[Math.max(0, first)]!, b.lastStep[Math.min(Math.max(first, end), b.lastStep.length - 1)]!];
  }
  const margin = Math.max(1, (to - from) / 8);
  const low = b.origin + BigInt(Math.floor(from - margin));
  const high = b.origin + BigInt(Math.ceil(to + margin)) + 1n;
  const top = 2n ** 63n - 1n;
  return [String(low < 0n ? 0n : low), String(high < 0n ? 0n : high > top ? top : high)];
}
