// Labels of the x-axis: steps, times, or values of a metric. Pure.

import { ticks } from "../model/format.ts";
import { type Axis, isTimed } from "../model/view.ts";

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const SECONDS = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

/** Labels of places on an axis in seconds: durations, or times of the day in the reader's zone. */
export function timeLabels(splits: readonly number[], axis: "relative" | "time"): string[] {
  const step = splits.length > 1 ? splits[1]! - splits[0]! : 0;
  if (axis === "relative") return splits.map((at) => relative(at, step));
  const format = step >= 86_400 ? DAY : step >= 60 || step === 0 ? CLOCK : SECONDS;
  return splits.map((at) => format.format(new Date(at * 1000)));
}

function relative(at: number, step: number): string {
  const sign = at < 0 ? "−" : "";
  const seconds = Math.abs(at);
  if (at === 0) return "0";
  if (step >= 86_400) return `${sign}${Math.round(seconds / 86_400)} d`;
  if (step >= 3600) return `${sign}${Math.round(seconds / 3600)} h`;
  if (step >= 60) {
    const minutes = Math.round(seconds / 60);
    return minutes < 60
      ? `${sign}${minutes} min`
      : `${sign}${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")} h`;
  }
  return `${sign}${Number(seconds.toPrecision(6))} s`;
}

/** Labels of places on an axis; steps count from the origin. */
export function labelsOf(splits: readonly number[], axis: Axis, origin: bigint): string[] {
  if (isTimed(axis)) return timeLabels(splits, axis);
  if (axis !== "step" || origin === 0n) return ticks(splits);
  return splits.map((at) => `…${String(origin + BigInt(Math.round(at))).slice(-6)}`);
}
