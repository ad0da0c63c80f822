// Saved views of a project: names for queries of its pages. Pure.

export interface Saved {
  name: string;
  page: "workspace" | "runs" | "compare";
  /** As in the address: "" or beginning with "?". */
  query: string;
}

const PAGES = ["workspace", "runs", "compare"] as const;
const MOST_NAME = 80;
const MOST = 200;

/** What was stored, whatever it is by now. */
export function parseSaved(text: string | null): Saved[] {
  let given: unknown;
  try {
    given = JSON.parse(text ?? "[]");
  } catch {
    return [];
  }
  if (!Array.isArray(given)) return [];
  return given.flatMap((item: unknown): Saved[] => {
    if (typeof item !== "object" || item === null) return [];
    const { name, page, query } = item as Record<string, unknown>;
    const known = PAGES.find((one) => one === page);
    if (typeof name !== "string" || typeof query !== "string" || !known) return [];
    return query === "" || query.startsWith("?") ? [{ name, page: known, query }] : [];
  });
}

/** The views with one more; it replaces one with the same name. */
export function withSaved(views: readonly Saved[], view: Saved): Saved[] {
  const name = view.name.trim().slice(0, MOST_NAME);
  if (name === "") return [...views];
  return [{ ...view, name }, ...views.filter((other) => other.name !== name)].slice(0, MOST);
}
