// Changes to a run that stay: names, tags, notes, and its end.

import type { Changes } from "../model/edits.ts";
import { type ApiError, type Run, runRoute, send, told } from "./api.ts";

const AT_ONCE = 4;

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

export interface Edited {
  /** The runs as they were, and as they are. */
  done: readonly { before: Run; after: Run }[];
  error: ApiError | null;
}

/**
 * Changes many runs, some at a time, and stops at the first error.
 *
 * @param changes of a run; null: nothing
 * @param progress is told how many are done
 */
export async function editAll(
  runs: readonly Run[],
  changes: (run: Run) => Changes | null,
  progress: (done: number) => void,
): Promise<Edited> {
  const waiting = [...runs];
  const done: { before: Run; after: Run }[] = [];
  let error: ApiError | null = null;
  let tried = 0;
  const work = async (): Promise<void> => {
    for (let run = waiting.shift(); run !== undefined && error === null; run = waiting.shift()) {
      const wanted = changes(run);
      try {
        if (wanted) done.push({ before: run, after: await edit(run, wanted) });
      } catch (problem) {
        error ??= told(problem);
      }
      progress((tried += 1));
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return { done, error };
}
