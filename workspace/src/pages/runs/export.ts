// Every run that matches the filter as a CSV file.

import { get, type Run, type RunPage } from "../../data/api.ts";
import { compile, sent } from "../../model/filter.ts";
import { valueOf } from "../../parts/columns.tsx";
import { csv, save } from "../../parts/csv.ts";
import { view } from "../../state.ts";
import type { Column } from "./columns.ts";

/** @param names the columns of config and summary. */
export async function exportRuns(
  path: string,
  file: string,
  columns: readonly Column[],
  names: readonly string[],
): Promise<void> {
  const found = await everyRun(path, names);
  const head = ["run", "name", "state", "tags", ...columns.map((column) => column.title)];
  const rows = found.map((run) => [
    ...[run.id, run.display_name, run.state, run.tags.join(" ")],
    ...names.map((column) => valueOf(run, column)),
    ...[run.last_step, run.duration_s, run.created_at],
  ]);
  save(file, csv([head, ...rows]), "text/csv");
}

// Window by window.
async function everyRun(path: string, columns: readonly string[]): Promise<Run[]> {
  const { filter, order, archived } = view.value;
  const { filters } = compile(filter);
  const summary = columns.filter((name) => name.startsWith("summary.")).map((name) => name.slice("summary.".length));
  const found: Run[] = [];
  let cursor: string | null = null;
  do {
    const page: RunPage = await get("/v1/runs", {
      ...{ path, order, summary, cursor, limit: 500 },
      filters: sent(filters, archived),
    });
    found.push(...page.runs);
    cursor = page.next;
  } while (cursor !== null);
  return found;
}
