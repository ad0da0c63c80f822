// The view of a page as the query of its URL. Pure. Parsing never fails: unknown keys are kept, invalid values are
// named and left out, so a link from another version still opens.

import { type Axis, axisOf } from "./axis.ts";
import { AUTOMATIC, type Layout } from "./layout.ts";
import { isSame, parseLayoutText, textOf } from "./layout-json.ts";
import { type Cut } from "./sections.ts";
import { METHODS, type Method } from "./smoothing.ts";

export { AXES, AXIS_WORDS, type Axis, isTimed, metricOf } from "./axis.ts";

export interface View {
  /** The drawn runs, by id; null: the newest ones. */
  runs: readonly string[] | null;
  /** The metrics search. */
  q: string;
  /** The filter of the runs list, in its own language (filter.ts). */
  filter: string;
  /** The order of the runs list, in the server's notation. */
  order: string;
  /** Columns of the runs table beside the fixed ones: "config.lr", "summary.train/loss". Null: the usual ones. */
  columns: readonly string[] | null;
  /** Columns by whose values the runs table is grouped: "config.optim.name", "state". */
  group: readonly string[];
  /** Its open groups, each as the JSON of its values. */
  open: readonly string[];
  axis: Axis;
  method: Method;
  weight: number;
  log: boolean;
  cut: Cut;
  /** The zoomed range, in units of the axis; null: everything. */
  zoom: readonly [number, number] | null;
  /** The panel in full screen; for most, its metric. */
  full: string;
  /** How the charts are arranged; null: as the project's layout says. In the fragment, which servers do not bound. */
  layout: Layout | null;
  /** Whether archived runs are listed, too. */
  archived: boolean;
  /** Whether the comparison also shows keys with the same value in all runs. */
  same: boolean;
  /** The query of the SQL page; null: the one to start with. */
  sql: string | null;
  /** Columns of its chart: x, y, and the one whose values are lines of their own. Null: those that suggest themselves. */
  chart: readonly string[] | null;
}

export const DEFAULT: View = {
  runs: null,
  q: "",
  filter: "",
  order: "-created_at",
  columns: null,
  group: [],
  open: [],
  axis: "step",
  method: "time",
  weight: 0,
  log: false,
  cut: "first",
  zoom: null,
  full: "",
  layout: null,
  archived: false,
  same: false,
  sql: null,
  chart: null,
};

const KNOWN = new Set([
  ...["runs", "q", "filter", "order", "cols", "group", "open", "x", "smooth", "w", "log", "cut", "from", "to", "full"],
  ...["same", "sql", "chart", "archived"],
]);
const GROUP = /^(state|tags|group|job_type|host|username|(config|summary)\..+)$/u;
const ORDER = /^[+-](created_at|display_name|state|last_step|duration|config\..+|summary_metrics\..+)$/u;

export interface Parsed {
  view: View;
  /** Ignored parts, such as "smooth=abc". */
  ignored: string[];
  /** Unknown keys, unchanged. */
  rest: [string, string][];
}

/** @param fragment of the address: "" or beginning with "#" */
export function parse(query: string, fragment = ""): Parsed {
  const given = new URLSearchParams(query);
  const ignored: string[] = [];
  const one = <T>(key: string, fallback: T, read: (text: string) => T | undefined): T => {
    const text = given.get(key);
    if (text === null) return fallback;
    const found = read(text);
    if (found !== undefined) return found;
    ignored.push(`${key}=${text}`);
    return fallback;
  };
  const finite = (text: string): number | undefined =>
    text !== "" && Number.isFinite(Number(text)) ? Number(text) : undefined;
  const flag = (text: string): boolean | undefined => (text === "1" ? true : text === "0" ? false : undefined);
  const from = one<number | null>("from", null, finite);
  const to = one<number | null>("to", null, finite);
  if ((from === null) !== (to === null) || (from !== null && to !== null && !(from < to)))
    ignored.push(`from=${given.get("from") ?? ""}&to=${given.get("to") ?? ""}`);
  const view: View = {
    runs: given.has("runs") ? given.getAll("runs").filter((run) => run !== "") : null,
    q: given.get("q") ?? DEFAULT.q,
    filter: given.get("filter") ?? DEFAULT.filter,
    order: one("order", DEFAULT.order, (text) => (ORDER.test(text) ? text : undefined)),
    columns: given.has("cols") ? given.getAll("cols").filter((name) => name !== "") : null,
    group: given.getAll("group").filter((name) => GROUP.test(name)),
    open: given.getAll("open"),
    axis: one<Axis>("x", DEFAULT.axis, axisOf),
    method: one("smooth", DEFAULT.method, (text) => METHODS.find((method) => method === text)),
    weight: one("w", DEFAULT.weight, (text) => {
      const weight = finite(text);
      return weight !== undefined && weight >= 0 && weight < 1 ? weight : undefined;
    }),
    log: one("log", DEFAULT.log, flag),
    cut: one<Cut>("cut", DEFAULT.cut, (text) => (text === "first" || text === "last" ? text : undefined)),
    zoom: from !== null && to !== null && from < to ? [from, to] : null,
    full: given.get("full") ?? DEFAULT.full,
    layout: layoutOf(fragment, ignored),
    archived: one("archived", DEFAULT.archived, flag),
    same: one("same", DEFAULT.same, flag),
    sql: given.get("sql"),
    chart: given.has("chart") ? given.getAll("chart") : null,
  };
  return { view, ignored, rest: [...given].filter(([key]) => !KNOWN.has(key)) };
}

function layoutOf(fragment: string, ignored: string[]): Layout | null {
  const text = new URLSearchParams(fragment.slice(1)).get("layout");
  if (text === null) return null;
  const layout = parseLayoutText(text);
  if (layout === null) ignored.push("layout");
  return layout;
}

/** The fragment of a view, "" or beginning with "#"; without one, a link shows the project's layout. */
export function fragment({ layout }: Pick<View, "layout">): string {
  return layout === null || isSame(layout, AUTOMATIC) ? "" : `#${new URLSearchParams({ layout: textOf(layout) })}`;
}

/** The query of a view, "" or beginning with "?", without defaults. */
export function query(view: View, rest: readonly [string, string][] = []): string {
  const made = new URLSearchParams();
  const put = (key: string, text: string, usual: string): void => {
    if (text !== usual) made.set(key, text);
  };
  if (view.runs !== null) for (const run of view.runs.length > 0 ? view.runs : [""]) made.append("runs", run);
  put("q", view.q, DEFAULT.q);
  put("filter", view.filter, DEFAULT.filter);
  put("order", view.order, DEFAULT.order);
  if (view.columns !== null)
    for (const name of view.columns.length > 0 ? view.columns : [""]) made.append("cols", name);
  for (const name of view.group) made.append("group", name);
  for (const key of view.open) made.append("open", key);
  put("x", view.axis, DEFAULT.axis);
  put("smooth", view.method, DEFAULT.method);
  put("w", String(view.weight), String(DEFAULT.weight));
  if (view.log) made.set("log", "1");
  put("cut", view.cut, DEFAULT.cut);
  if (view.zoom !== null) {
    made.set("from", String(view.zoom[0]));
    made.set("to", String(view.zoom[1]));
  }
  put("full", view.full, DEFAULT.full);
  if (view.archived) made.set("archived", "1");
  if (view.same) made.set("same", "1");
  if (view.sql !== null) made.set("sql", view.sql);
  if (view.chart !== null) for (const name of view.chart) made.append("chart", name);
  for (const [key, text] of rest) made.append(key, text);
  const text = made.toString();
  return text === "" ? "" : `?${text}`;
}
