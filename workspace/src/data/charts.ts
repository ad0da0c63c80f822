// Series for charts: everything that is requested within a frame is one request, which is read as a stream.

import type { Buckets } from "../model/buckets.ts";
import { type Batch, BatchReader, floats, WireError } from "../model/wire.ts";
import { ApiError, isAbort, route, send, told } from "./api.ts";

export interface Wanted {
  key: string;
  run: string;
  buckets: number;
  /** Steps as strings, since JavaScript's numbers cannot hold every step. */
  minStep?: string;
  maxStep?: string;
  times: boolean;
  /** The metric of the x-axis; without one, x is the step or the time. */
  along?: string;
}

export interface Series {
  buckets: Buckets;
  points: number;
  writers: string[];
  /** The metric of the x-axis, of which `buckets.along` has the values. */
  along?: string;
}

interface Waiting {
  wanted: Wanted;
  signal: AbortSignal;
  take: (series: Series) => void;
  fail: (error: ApiError) => void;
}

const AT_ONCE = 2;
const PER_REQUEST = 400;

export class Charts {
  #path: string;
  #waiting: Waiting[] = [];
  #scheduled = false;
  #underWay = 0;

  constructor(path: string) {
    this.#path = path;
  }

  /** Requests one series; rejects with a DOMException when the signal is aborted. */
  want(wanted: Wanted, signal: AbortSignal): Promise<Series> {
    const { promise, resolve, reject } = Promise.withResolvers<Series>();
    const aborted = (): void => reject(new DOMException("not wanted any more", "AbortError"));
    signal.addEventListener("abort", aborted);
    this.#waiting.push({ wanted, signal, take: resolve, fail: reject });
    this.#schedule();
    // The signal lives as long as the chart, which requests its tail repeatedly.
    return promise.finally(() => signal.removeEventListener("abort", aborted));
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    // Not an animation frame: a hidden page has none.
    setTimeout(() => {
      this.#scheduled = false;
      this.#start();
    }, 8);
  }

  #start(): void {
    this.#waiting = this.#waiting.filter((item) => !item.signal.aborted);
    while (this.#underWay < AT_ONCE && this.#waiting.length > 0) {
      // A request is either with or without times; others wait for the next one.
      const times = this.#waiting[0]!.wanted.times;
      const mine = this.#waiting.filter((item) => item.wanted.times === times).slice(0, PER_REQUEST);
      const taken = new Set(mine);
      this.#waiting = this.#waiting.filter((item) => !taken.has(item));
      this.#underWay += 1;
      void this.#send(mine, times).finally(() => {
        this.#underWay -= 1;
        this.#start();
      });
    }
  }

  async #send(items: Waiting[], times: boolean): Promise<void> {
    const abort = new AbortController();
    const left = new Set(items);
    const drop = (): void => {
      if (items.every((item) => item.signal.aborted)) abort.abort();
    };
    for (const item of items) item.signal.addEventListener("abort", drop);
    const body = {
      times,
      charts: items.map(({ wanted }) => ({
        key: wanted.key,
        runs: [wanted.run],
        buckets: wanted.buckets,
        min_step: wanted.minStep,
        max_step: wanted.maxStep,
      })),
    };
    try {
      const reply = await send(route("/v1/charts", { path: this.#path }), {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(body),
        signal: abort.signal,
      });
      const reader = new BatchReader();
      const pieces = reply.body!.getReader();
      for (;;) {
        const { done, value } = await pieces.read();
        if (done) break;
        for (const batch of reader.push(value)) {
          if (batch.head["kind"] !== "chart") continue;
          const item = items[batch.head["chart"] as number]!;
          left.delete(item);
          const error = batch.head["error"] as Record<string, string> | undefined;
          if (error) item.fail(new ApiError(error["message"] ?? "The chart could not be read.", error));
          else item.take(seriesOf(batch));
        }
      }
      reader.end();
      for (const item of left) item.fail(new ApiError("The answer was cut off.", { code: "cut_off" }));
    } catch (error) {
      const shown = error instanceof WireError ? new ApiError(error.message, { code: "wire" }) : told(error);
      if (!isAbort(error)) for (const item of left) item.fail(shown);
    } finally {
      for (const item of items) item.signal.removeEventListener("abort", drop);
    }
  }
}

/** The buckets of a batch; missing columns follow from the others (docs/column-format.md). */
export function seriesOf(batch: Batch): Series {
  const width = Number(batch.head["bucket_width"]);
  const first = BigInt(batch.head["origin"] as string);
  const bucket = floats(batch, "bucket") ?? new Float64Array(batch.rows);
  const span = BigInt(Math.round((bucket.at(-1) ?? 0) + 1)) * BigInt(Math.round(width));
  // x counts from step 0 as long as a float64 is exact.
  const origin = first + span <= BigInt(Number.MAX_SAFE_INTEGER) ? 0n : first;
  const start = bucket.map((at) => Number(first - origin) + at * width);
  const firstStep = plus(start, floats(batch, "first_step"));
  const value = floats(batch, "first") ?? new Float64Array(batch.rows);
  const finite = value.map((y) => (Number.isFinite(y) ? y : Number.NaN));
  const odd = value.map((y) => (Number.isFinite(y) ? 0 : 1));
  const counted = floats(batch, "count");
  if (counted) {
    odd.fill(0);
    for (const name of ["nans", "pos_infs", "neg_infs"]) floats(batch, name)?.forEach((n, i) => (odd[i]! += n));
  }
  const ints = (name: string): Int32Array | null =>
    (batch.columns.find((column) => column.name === name)?.values as Int32Array | undefined) ?? null;
  return {
    points: Number(batch.head["points"]),
    writers: batch.head["writers"] as string[],
    buckets: {
      origin,
      width,
      start,
      count: counted ?? new Float64Array(batch.rows).fill(1),
      min: floats(batch, "min") ?? finite,
      max: floats(batch, "max") ?? finite,
      mean: floats(batch, "mean") ?? finite,
      first: value,
      last: floats(batch, "last") ?? value,
      firstStep,
      lastStep: counted ? plus(start, floats(batch, "last_step")) : firstStep,
      odd,
      minWriter: ints("min_writer"),
      maxWriter: ints("max_writer"),
      time: floats(batch, "time"),
      along: null,
    },
  };
}

function plus(start: Float64Array, offset: Float64Array | null): Float64Array {
  return offset ? start.map((at, i) => at + offset[i]!) : start;
}
