// The columns of the table of runs: fixed ones, and those that are chosen from config and summary.

import type { Run } from "../../data/api.ts";
import * as format from "../../model/format.ts";
import { textOf } from "../../model/values.ts";
import { valueOf } from "../../parts/columns.tsx";

/** A column: its name, its order, and its cells. */
export interface Column {
  key: string;
  title: string;
  width: number;
  order: string | null;
  /** The field whose mean a group shows, in the server's words; null: none. */
  field: string | null;
  /** Shows a mean, where the usual way does not fit. */
  mean?: (value: number) => string;
  number: boolean;
  show: (run: Run) => string;
}

export const FIXED: Column[] = [
  {
    key: "last_step",
    title: "step",
    width: 90,
    order: "last_step",
    field: "last_step",
    mean: (value) => format.step(Math.round(value)),
    number: true,
    show: (run) => (run.last_step === null ? "" : format.step(run.last_step)),
  },
  {
    key: "duration",
    title: "Duration",
    width: 100,
    order: "duration",
    field: "duration",
    mean: format.duration,
    number: true,
    show: (run) => (run.duration_s === null ? "" : format.duration(run.duration_s)),
  },
  {
    key: "created_at",
    title: "Started",
    width: 120,
    order: "created_at",
    field: null,
    number: true,
    show: (run) => format.when(run.created_at),
  },
];

export function columnFor(name: string, runs: readonly Run[]): Column {
  const [place, key] = name.startsWith("config.") ? ["config", name.slice(7)] : ["summary_metrics", name.slice(8)];
  const number = place === "summary_metrics" || runs.some((run) => typeof valueOf(run, name) === "number");
  return {
    key: name,
    title: key,
    width: Math.min(260, Math.max(96, key.length * 7 + 30)),
    order: `${place}.${key}`,
    field: `${place}.${key}`,
    number,
    show: (run) => textOf(valueOf(run, name)),
  };
}
