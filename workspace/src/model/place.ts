// Finds the page of a URL. Pure; the server returns the same document for all of them (api/pages.py).

export const TABS = ["overview", "charts", "media", "system", "console", "files"] as const;
export type Tab = (typeof TABS)[number];

export type Place =
  | { page: "projects" }
  | { page: "workspace" | "runs" | "compare" | "sql"; entity: string; project: string }
  | { page: "run"; entity: string; project: string; run: string; tab: Tab }
  | { page: "unknown" };

/** The page of a path such as "/team/mnist/runs/a%2Fb/console". */
export function placeOf(path: string): Place {
  let parts: string[];
  try {
    parts = path
      .split("/")
      .slice(1)
      .map((part) => decodeURIComponent(part));
  } catch {
    return { page: "unknown" }; // not a percent-encoded text
  }
  if (parts.at(-1) === "") parts.pop();
  const [entity, project, word, run, given, ...more] = parts;
  if (parts.length === 0) return { page: "projects" };
  if (!entity || !project || more.length > 0) return { page: "unknown" };
  if (word === undefined) return { page: "workspace", entity, project };
  if ((word === "sql" || word === "compare") && run === undefined) return { page: word, entity, project };
  if (word !== "runs") return { page: "unknown" };
  if (run === undefined) return { page: "runs", entity, project };
  const tab = TABS.find((name) => name === (given ?? "overview"));
  return tab && run ? { page: "run", entity, project, run, tab } : { page: "unknown" };
}

const join = (...parts: string[]): string => `/${parts.map(encodeURIComponent).join("/")}`;

export const workspaceHref = (entity: string, project: string): string => join(entity, project);
export const runsHref = (entity: string, project: string): string => join(entity, project, "runs");
export const compareHref = (entity: string, project: string): string => join(entity, project, "compare");
export const sqlHref = (entity: string, project: string): string => join(entity, project, "sql");
export const runHref = (entity: string, project: string, run: string, tab: Tab = "overview"): string =>
  tab === "overview" ? join(entity, project, "runs", run) : join(entity, project, "runs", run, tab);
