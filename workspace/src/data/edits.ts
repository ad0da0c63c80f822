// Changes to a run that stay: names, tags, notes, and its end.

import type { Changes } from "../model/edits.ts";
import { type Run, runRoute, send } from "./api.ts";

/** Changes the run; returns it as it is then. */
export async function edit(run: Run, changes: Changes): Promise<Run> {
  const reply = await send(runRoute(run.entity, run.project, run.id), {
    method: "PATCH",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(changes),
  });
  return (await reply.json()) as Run;
}

/** Deletes the run for good. */
export async function remove(run: Run): Promise<void> {
  await send(runRoute(run.entity, run.project, run.id), { method: "DELETE" });
}
