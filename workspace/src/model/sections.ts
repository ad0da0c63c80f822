// Groups metrics into sections by the text before the first or the last slash. Pure.

export type Cut = "first" | "last";

export interface Section {
  /** "" for metrics without a slash. */
  name: string;
  metrics: string[];
}

/** The section of a metric: "train" of "train/loss"; with "last", "a/b" of "a/b/c". */
export function sectionOf(metric: string, cut: Cut): string {
  const at = cut === "first" ? metric.indexOf("/") : metric.lastIndexOf("/");
  return at > 0 ? metric.slice(0, at) : "";
}

/** Sections in natural order, those without a slash first; metrics inside likewise ("layer2" before "layer10"). */
export function sections(metrics: readonly string[], cut: Cut): Section[] {
  const found = new Map<string, string[]>();
  for (const metric of [...metrics].toSorted(naturally)) {
    const name = sectionOf(metric, cut);
    const list = found.get(name);
    if (list === undefined) found.set(name, [metric]);
    else list.push(metric);
  }
  return [...found].map(([name, list]) => ({ name, metrics: list })).toSorted((a, b) => naturally(a.name, b.name));
}

/** The metrics that match a search: a case-insensitive regular expression, or a literal text where it is not a valid one. */
export function search(metrics: readonly string[], query: string): string[] {
  if (query.trim() === "") return [...metrics];
  const pattern = matcher(query.trim());
  return metrics.filter((metric) => pattern(metric));
}

/** Whether a text is a valid regular expression. */
export function isPattern(query: string): boolean {
  try {
    return new RegExp(query, "iu").source !== "";
  } catch {
    return false;
  }
}

function matcher(query: string): (text: string) => boolean {
  try {
    const pattern = new RegExp(query, "iu");
    return (text) => pattern.test(text);
  } catch {
    const lower = query.toLowerCase();
    return (text) => text.toLowerCase().includes(lower);
  }
}

const ORDER = new Intl.Collator("en", { numeric: true });
export const naturally = (a: string, b: string): number => ORDER.compare(a, b) || (a < b ? -1 : a > b ? 1 : 0);
