// Saved views of a project: names for queries of its pages, with a layout. Pure.

import { type Layout } from "./layout.ts";
import { parseLayout } from "./layout-json.ts";

export interface Saved {
  name: string;
  page: "workspace" | "runs" | "compare";
  /** As in the address: "" or beginning with "?". */
  query: string;
  /** Null: that of the project. */
  layout: Layout | null;
}

const PAGES = ["workspace", "runs", "compare"] as const;
export const MOST_NAME = 80;

/** What the server sent, or a browser stored, whatever it is. */
export function savedOf(given: unknown): Saved[] {
  if (!Array.isArray(given)) return [];
  return given.flatMap((item: unknown): Saved[] => {
    if (typeof item !== "object" || item === null) return [];
    const { name, page, query, layout } = item as Record<string, unknown>;
    const known = PAGES.find((one) => one === page);
    if (typeof name !== "string" || typeof query !== "string" || !known) return [];
    if (query !== "" && !query.startsWith("?")) return [];
    return [{ name, page: known, query, layout: layout ? parseLayout(layout) : null }];
  });
}

/** The views that an earlier version kept in the browser. */
export function parseSaved(text: string | null): Saved[] {
  try {
    return savedOf(JSON.parse(text ?? "[]"));
  } catch {
    return [];
  }
}
