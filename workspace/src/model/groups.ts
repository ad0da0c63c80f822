// The runs table in groups: what is asked of the server, and the lines that are shown. Pure.

import type { Json, Run } from "../data/api.ts";
import * as format from "./format.ts";
import { textOf } from "./values.ts";

/** A group as the server sends it (docs/reading.md). */
export interface Group {
  by: readonly Json[];
  runs: number;
  /** The filter of its runs, as JSON. */
  filters: string;
  means: Record<string, Mean>;
}

export interface Mean {
  mean: number;
  /** Null: of one run alone. */
  deviation: number | null;
  runs: number;
}

/** Fields beside config and summary by which runs are grouped. */
export const GROUP_FIELDS: Record<string, string> = {
  state: "State",
  tags: "Tags",
  group: "Group",
  job_type: "Job type",
  host: "Host",
  username: "User",
};

export type Line =
  | { kind: "group"; key: string; group: Group; open: boolean }
  | { kind: "run"; key: string; run: Run }
  /** Runs of a group that have not been read yet. */
  | { kind: "more"; key: string; group: Group; missing: number };

/** The name of a column in the server's filters and orders. */
export function fieldOf(column: string): string {
  return column.startsWith("summary.") ? `summary_metrics.${column.slice("summary.".length)}` : column;
}

export const keyOf = (group: Group): string => JSON.stringify(group.by);

/** "muon, 768"; a run without the value belongs to "none". */
export function titleOf(group: Group): string {
  return group.by.map((value) => (value === null ? "none" : textOf(value) || "“”")).join(", ");
}

/** The mean of a column, with its deviation: "3.0412 ± 0.09"; "": no run of the group has a number. */
export function meanText(mean: Mean | undefined): string {
  if (!mean) return "";
  const deviation = mean.deviation ? ` ± ${format.value(Number(mean.deviation.toPrecision(2)))}` : "";
  return format.value(Number(mean.mean.toPrecision(5))) + deviation;
}

/** Of how many runs the mean is, where not all have the number. */
export function meanTitle(mean: Mean | undefined, group: Group): string {
  if (!mean) return "";
  return mean.runs === group.runs
    ? format.exact(mean.mean)
    : `${format.exact(mean.mean)}, of ${format.counted(mean.runs, "run")}`;
}

/** The lines of the table: each group, and below an open one its runs as far as they were read. */
export function linesOf(
  groups: readonly Group[],
  open: ReadonlySet<string>,
  runsOf: (key: string) => readonly Run[],
): Line[] {
  return groups.flatMap((group): Line[] => {
    const key = keyOf(group);
    const head: Line = { kind: "group", key, group, open: open.has(key) };
    if (!head.open) return [head];
    const runs = runsOf(key);
    const missing = group.runs - runs.length;
    const more: Line[] = missing > 0 ? [{ kind: "more", key: `${key} more`, group, missing }] : [];
    return [head, ...runs.map((run): Line => ({ kind: "run", key: `${key} ${run.id}`, run })), ...more];
  });
}

/** The filter of a group's runs: that of the table and its own. */
export function filterOf(group: Group, filters: string | null): string {
  return filters === null ? group.filters : `{"$and":[${filters},${group.filters}]}`;
}
