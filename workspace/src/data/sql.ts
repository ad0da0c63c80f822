// Queries to the server, and what a query can name: views, their columns, and the metrics of a project.

import type { Result } from "../model/result.ts";
import { ApiError, get, type MetricNames, send } from "./api.ts";

/** A view that queries can read. */
export interface Relation {
  name: string;
  about: string;
  columns: { name: string; type: string; about: string }[];
}

// Types by the names that answers use, in the order of the view.
const RELATIONS = `
SELECT c.relname, a.attname, t.typname, col_description(c.oid, a.attnum), obj_description(c.oid, 'pg_class')
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = 'stepwell'
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type AS t ON t.oid = a.atttypid
WHERE c.relkind = 'v' AND has_column_privilege(c.oid, a.attnum, 'SELECT')
ORDER BY c.relname, a.attnum`;

/** Runs a query that only reads; `signal` cancels it at the server, too. */
export async function ask(query: string, seconds: number, signal: AbortSignal): Promise<Result> {
  const reply = await send("/v1/sql", {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/json" },
    body: JSON.stringify({ query, timeout_s: seconds }),
    signal,
  });
  const found = (await reply.json()) as Result & { error?: Record<string, string> };
  // It failed after rows had been sent, when the status could no longer say so.
  if (found.error) throw new ApiError(found.error["message"] ?? "The query failed.", found.error);
  return found;
}

export async function relations(signal: AbortSignal): Promise<Relation[]> {
  const found = new Map<string, Relation>();
  for (const row of (await ask(RELATIONS, 10, signal)).rows) {
    const [name, column, type, about, whole] = row.map((cell) => String(cell ?? ""));
    const relation = found.get(name!) ?? { name: name!, about: whole!, columns: [] };
    relation.columns.push({ name: column!, type: type!, about: about! });
    found.set(name!, relation);
  }
  return [...found.values()];
}

/** Metrics of the project's newest runs, and how many of these have each. */
export async function metrics(path: string, signal: AbortSignal): Promise<{ name: string; runs: number }[]> {
  const { metrics: found } = await get<MetricNames>("/v1/metrics", { path }, signal);
  return found.map(({ name, runs }) => ({ name, runs: runs.length }));
}
