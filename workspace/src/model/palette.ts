// What can be gone to by typing a part of its name, the best first. Pure.

export type Kind = "Page" | "View" | "Run" | "Metric" | "Project";

export interface Target {
  kind: Kind;
  title: string;
  /** Beside the title, such as a run's id. */
  more?: string;
  href: string;
  slot?: number;
}

const PER_KIND = 8;
const KINDS: readonly Kind[] = ["Page", "View", "Run", "Metric", "Project"];

/** How well a title fits a query; 0: it does not. Each word of the query must be in it. */
export function fit(title: string, query: string): number {
  const [name, wanted] = [title.toLowerCase(), query.trim().toLowerCase()];
  if (wanted === "") return 1;
  if (name === wanted) return 100;
  let sum = 0;
  for (const word of wanted.split(/\s+/u)) {
    const at = name.indexOf(word);
    if (at < 0) return 0;
    const start = at === 0 ? 30 : /[^\p{L}\p{N}]/u.test(name[at - 1]!) ? 20 : 10;
    sum += start + word.length / name.length;
  }
  return sum;
}

/** The targets that fit, by kind; of each kind the best few. The kind with the best one is the first. */
export function found(targets: readonly Target[], query: string): Target[] {
  const groups = KINDS.map((kind) => {
    const scored = targets
      .filter((target) => target.kind === kind)
      .map((target) => ({ target, score: Math.max(fit(target.title, query), fit(target.more ?? "", query) / 2) }))
      .filter(({ score }) => score > 0)
      .toSorted((a, b) => b.score - a.score)
      .slice(0, PER_KIND);
    return { best: scored[0]?.score ?? 0, list: scored.map(({ target }) => target) };
  });
  return groups.toSorted((a, b) => b.best - a.best).flatMap(({ list }) => list);
}
