// What a reader changes of a run, as the server takes it. Pure.

import type { Run } from "../data/api.ts";

/** The fields as they stand in the form. */
export interface Form {
  name: string;
  tags: string;
  notes: string;
}

export type Changes = Partial<{ name: string | null; tags: string[]; notes: string | null; archived: boolean }>;

const MOST_TAG = 64;

export function formOf(run: Run): Form {
  return { name: run.display_name, tags: run.tags.join(", "), notes: run.notes ?? "" };
}

/** Tags are separated by commas; each stands once. */
export function tagsOf(text: string): string[] {
  return [...new Set(text.split(",").map((tag) => tag.trim()))].filter((tag) => tag !== "");
}

/** The tags of some runs, each with how many have it; those of most runs first. */
export function tagCounts(runs: readonly Run[]): [string, number][] {
  const counts = new Map<string, number>();
  for (const tag of runs.flatMap((run) => run.tags)) counts.set(tag, (counts.get(tag) ?? 0) + 1);
  return [...counts].toSorted(([a, n], [b, m]) => m - n || (a < b ? -1 : 1));
}

/** The change that gives a run tags and takes others; null: it has them so already. */
export function retagged(run: Run, more: readonly string[], less: readonly string[]): Changes | null {
  const tags = [...new Set([...run.tags, ...more])].filter((tag) => !less.includes(tag));
  return tags.length === run.tags.length && tags.every((tag, i) => tag === run.tags[i]) ? null : { tags };
}

/** What is wrong with tags that were typed; "": nothing. */
export function wrongTag(text: string): string {
  const long = tagsOf(text).find((tag) => [...tag].length > MOST_TAG);
  return long ? `A tag has at most ${MOST_TAG} characters: ${long.slice(0, 20)}…` : "";
}

/** What is wrong with the form; "": nothing. */
export function wrongWith(form: Form): string {
  const wrong = wrongTag(form.tags);
  if (wrong) return wrong;
  return form.name.trim() === "" ? "A run needs a name." : "";
}

/** Only what differs, so that a change by somebody else meanwhile stays. */
export function changesOf(run: Run, form: Form): Changes {
  const before = formOf(run);
  const changes: Changes = {};
  if (form.name.trim() !== before.name) changes.name = form.name.trim();
  if (JSON.stringify(tagsOf(form.tags)) !== JSON.stringify(run.tags)) changes.tags = tagsOf(form.tags);
  if (form.notes !== before.notes) changes.notes = form.notes === "" ? null : form.notes;
  return changes;
}
