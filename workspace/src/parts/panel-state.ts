// What a chart shows: its lines, or why there are none; and how exact the picture is. Pure.

import type { Mark } from "../chart/paint.ts";
import type { Line } from "../chart/series.ts";
import type { Run } from "../data/api.ts";
import type { PanelData } from "../data/panel.ts";
import { fidelity, lowerBound, totals } from "../model/buckets.ts";
import * as format from "../model/format.ts";
import { type Axis, metricOf } from "../model/view.ts";

export interface PanelState {
  kind: "loading" | "drawn" | "empty" | "nan" | "failed";
  badge: string;
  points: number;
  title?: string;
  why?: string;
}

/** A panel whose metrics have not been chosen, or whose pattern fits none. */
export const NOTHING: PanelState = {
  ...{ kind: "empty", badge: "", points: 0, title: "No metric here" },
  why: "Its menu chooses metrics: some of the list, or all that a pattern matches.",
};

export function stateOf(
  sets: readonly { data: PanelData; runs: readonly Run[] }[],
  lines: readonly Line[],
  zoom: readonly [number, number] | null,
  axis: Axis,
): PanelState {
  const entries = sets.flatMap(({ data, runs }) => runs.map((run) => ({ data, run, entry: data.entries.get(run.id) })));
  const failed = entries.find(({ entry }) => entry?.error)?.entry?.error;
  const waiting = entries.some(({ data, run, entry }) => !entry?.error && !data.shownOf(run.id, axis).overview);
  let [points, odd, buckets] = [0, 0, 0];
  for (const line of lines) {
    const [from, to] = zoom ? [lowerBound(line.x1, zoom[0]), lowerBound(line.x0, zoom[1])] : [0, line.x0.length];
    const sum = totals(line.buckets, from, to);
    points += sum.points;
    odd += sum.odd;
    buckets += sum.buckets;
  }
  if (points === 0 && waiting) return { kind: "loading", badge: "", points };
  if (points === 0 && failed)
    return { kind: "failed", badge: "", points, title: failed.message, why: failed.hint || failed.detail };
  const along = metricOf(axis);
  if (points === 0 && lines.length > 0) return { kind: "drawn", badge: "no points in this range", points };
  if (points === 0)
    return {
      kind: "empty",
      badge: "no points",
      points,
      title: along === null ? "No points yet" : `Nothing over ${along}`,
      why:
        along === null
          ? "None of the drawn runs has stored one."
          : "No drawn run has logged it at or before these points. Another x-axis shows them.",
    };
  const badge = fidelity(buckets, points, format.count);
  if (odd === points)
    return {
      kind: "nan",
      badge,
      points,
      title: "No value is finite",
      why: `${format.count(odd)} of ${format.count(points)} are NaN or infinite.`,
    };
  return { kind: "drawn", badge: failed ? "some runs could not be read" : badge, points };
}

/** A mark where values are NaN or infinite. */
export function oddMarks(lines: readonly Line[]): Mark[] {
  return lines.flatMap(({ buckets, x0 }) =>
    Array.from(buckets.odd).flatMap((odd, i): Mark[] => (odd > 0 ? [{ kind: "nan", x: x0[i]! }] : [])),
  );
}
