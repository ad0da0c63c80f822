// What a reader changes of a run, as the server takes it. Pure.

import type { Run } from "../data/api.ts";

/** The fields as they stand in the form. */
export interface Form {
  name: string;
  tags: string;
  notes: string;
}

export type Changes = Partial<{ name: string | null; tags: string[]; notes: string | null }>;

const MOST_TAG = 64;

export function formOf(run: Run): Form {
  return { name: run.display_name, tags: run.tags.join(", "), notes: run.notes ?? "" };
}

/** Tags are separated by commas; each stands once. */
export function tagsOf(text: string): string[] {
  return [...new Set(text.split(",").map((tag) => tag.trim()))].filter((tag) => tag !== "");
}

/** What is wrong with the form; "": nothing. */
export function wrongWith(form: Form): string {
  const long = tagsOf(form.tags).find((tag) => [...tag].length > MOST_TAG);
  if (long) return `A tag has at most ${MOST_TAG} characters: ${long.slice(0, 20)}…`;
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
