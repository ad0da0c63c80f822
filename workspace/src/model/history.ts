// The queries that were run on the SQL page of a project, the newest first. Pure; the browser keeps them.

export interface Past {
  query: string;
  /** Unix milliseconds. */
  at: number;
}

const MOST = 50;
const LONGEST = 20_000;

/** What was stored, whatever it is by now. */
export function parsePast(text: string | null): Past[] {
  let given: unknown;
  try {
    given = JSON.parse(text ?? "[]");
  } catch {
    return [];
  }
  if (!Array.isArray(given)) return [];
  return given
    .flatMap((item: unknown): Past[] => {
      const { query, at } = (typeof item === "object" && item !== null ? item : {}) as Record<string, unknown>;
      return typeof query === "string" && typeof at === "number" ? [{ query, at }] : [];
    })
    .slice(0, MOST);
}

/** The history with one more query; the same one before it goes. */
export function withQuery(past: readonly Past[], query: string, at: number): Past[] {
  if (query.trim() === "" || query.length > LONGEST) return [...past];
  return [{ query, at }, ...past.filter((one) => one.query !== query)].slice(0, MOST);
}

/** The beginning of a query on one line. */
export const shortQuery = (query: string): string => query.replaceAll(/\s+/gu, " ").trim().slice(0, 200);
