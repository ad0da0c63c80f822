// The numbers that a chart draws, as rows of a CSV file and as SQL that gives the same. Pure.

import { type Axis, metricOf } from "../model/view.ts";
import type { Line } from "./series.ts";

const HEAD = ["run", "name", "step", "last_step", "points", "min", "max", "mean", "first", "last", "nan_or_inf"];

/** One row for each bucket that is in sight; x and the smoothed value where they are not the step and the mean. */
export function rowsOf(
  lines: readonly Line[],
  axis: Axis,
  smooth: boolean,
  range: readonly [number, number],
): unknown[][] {
  const several = new Set(lines.map((line) => line.metric)).size > 1;
  const more = [...(several ? ["metric"] : []), ...(axis === "step" ? [] : ["x"]), ...(smooth ? ["smoothed"] : [])];
  const rows = lines.flatMap((line) => {
    const b = line.buckets;
    const step = (at: number): string => String(b.origin + BigInt(Math.round(at)));
    return Array.from(b.start, (_, i) => i)
      .filter((i) => line.x1[i]! >= range[0] && line.x0[i]! <= range[1])
      .map((i) => [
        ...[line.run, line.name, step(b.firstStep[i]!), step(b.lastStep[i]!), b.count[i]],
        ...[b.min[i], b.max[i], b.mean[i], b.first[i], b.last[i], b.odd[i]],
        ...(several ? [line.metric] : []),
        ...(axis === "step" ? [] : [line.xm[i]]),
        ...(smooth ? [line.smoothed[i]] : []),
      ]);
  });
  return [[...HEAD, ...more], ...rows];
}

/** A drawn run: how its buckets were asked for. */
export interface Drawn {
  run: string;
  metric: string;
  /** Steps of a bucket, as drawn. */
  width: number;
  /** The most buckets that were asked for. */
  buckets: number;
  /** The window of steps; null: the whole run. */
  window: readonly [string, string] | null;
}

/**
 * SQL that gives the buckets of a chart, of one metric or of several.
 *
 * @param zoom the range of steps in sight, on an axis of steps
 * @param smoothing how the chart smooths them, in words; "": it does not
 */
export function sqlOf(
  [entity, project]: readonly [string, string],
  drawn: readonly Drawn[],
  axis: Axis,
  zoom: readonly [string, string] | null,
  smoothing = "",
): string {
  const x = metricOf(axis);
  const names = [...new Set(drawn.map(({ metric }) => metric))];
  const several = names.length > 1;
  const values = drawn.map(({ run, metric, width, buckets, window }) => {
    const [from, to] = window ?? ["NULL", "NULL"];
    const own = several ? `${literal(metric)}, ` : "";
    return `(${literal(run)}, ${own}${width}::bigint, ${buckets}, ${from}::bigint, ${to}::bigint)`;
  });
  const inside = zoom ? `\nHAVING max(s.last_step) >= ${zoom[0]} AND min(s.first_step) <= ${zoom[1]}` : "";
  const finite = "s.count - s.nans - s.pos_infs - s.neg_infs";
  const line = several ? "d.run, d.metric" : "d.run";
  const sampled = (name: string, bucket: string): string =>
    `FROM drawn d
JOIN runs r ON r.entity = ${literal(entity)} AND r.project = ${literal(project)} AND r.run = d.run
CROSS JOIN LATERAL history_sample(r.run_id, ${name}, d.buckets, d.min_step, d.max_step) s
GROUP BY ${line}, ${bucket}`;
  const mean = `sum(s.mean * (${finite})) / nullif(sum(${finite}), 0)`;
  const y = `SELECT ${line}, s.bucket_step / d.width AS bucket, min(s.first_step) AS step, max(s.last_step) AS last_step,
       sum(s.count)::bigint AS points, min(s.min) AS min, max(s.max) AS max, ${mean} AS mean,
       (array_agg(s.first ORDER BY s.first_step, s.writer))[1] AS first,
       (array_agg(s.last ORDER BY s.last_step DESC, s.writer))[1] AS last
${sampled(several ? "d.metric" : literal(names[0] ?? ""), "s.bucket_step / d.width")}${inside}`;
  const columns = `run, ${several ? "metric, " : ""}width, buckets, min_step, max_step`;
  const list = `WITH drawn (${columns}) AS (VALUES\n  ${values.join(",\n  ")})`;
  const runs = new Set(drawn.map(({ run }) => run)).size;
  const title = [
    `-- ${names.map(oneLine).join(", ")}: the buckets of ${runs === 1 ? "one run" : `${runs} runs`} as the chart draws them`,
    smoothing === ""
      ? "-- without smoothing"
      : `-- before smoothing: the chart shows means after ${smoothing}, which "Save as CSV" includes`,
  ].join("\n");
  if (x === null) return `${title}\n${list}\n${y}\nORDER BY ${several ? "1, 2, 3" : "1, 2"}`;
  return `${title}
-- x is the last value of ${oneLine(x)} at or before the step; within a bucket, between its first and last one
${list},
y AS (
${y}),
x AS (
SELECT ${line}, min(s.first_step) AS first_step, max(s.last_step) AS last_step,
       (array_agg(s.first ORDER BY s.first_step, s.writer))[1] AS first,
       (array_agg(s.last ORDER BY s.last_step DESC, s.writer))[1] AS last
${sampled(literal(x), "s.bucket_step")})
SELECT y.run, ${several ? "y.metric, " : ""}p.x, y.step, y.last_step, y.points, y.min, y.max, y.mean, y.first, y.last
FROM y CROSS JOIN LATERAL (
    SELECT CASE WHEN x.last_step > x.first_step
                THEN x.first + least(1, (y.step - x.first_step)::float8 / (x.last_step - x.first_step)) * (x.last - x.first)
                ELSE x.first END AS x
    FROM x WHERE x.run = y.run${several ? " AND x.metric = y.metric" : ""} AND x.first_step <= y.step
    ORDER BY x.first_step DESC LIMIT 1) p
WHERE p.x > '-Infinity' AND p.x < 'Infinity' ORDER BY y.run, ${several ? "y.metric, " : ""}p.x, y.bucket`;
}

const oneLine = (text: string): string => text.replaceAll(/\s+/gu, " ");

/** A text of SQL, whatever it has in it. */
export function literal(text: string): string {
  const quoted = text.replaceAll("'", "''");
  return text.includes("\\") ? `E'${quoted.replaceAll("\\", "\\\\")}'` : `'${quoted}'`;
}
