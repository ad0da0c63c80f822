// How the charts of a project are arranged: only what differs from what the pages do themselves, so that a new metric
// finds its place. Pure.

import { type Axis } from "./axis.ts";
import { type Cut, naturally, search, sectionOf } from "./sections.ts";
import { type Method } from "./smoothing.ts";

/** Settings of charts. What is missing comes from the section, then from the page. */
export interface Settings {
  axis?: Axis;
  method?: Method;
  weight?: number;
  log?: boolean;
  /** The ends of the y-axis. */
  low?: number;
  high?: number;
}

/** What differs for a panel. Panels that people made have `metrics` or a `pattern`. */
export interface Change {
  section?: string;
  title?: string;
  metrics?: readonly string[];
  /** A regular expression that the names of its metrics match. */
  pattern?: string;
  /** Columns and rows that it covers. */
  wide?: number;
  tall?: number;
  gone?: true;
  settings?: Settings;
}

export interface Layout {
  panels: ReadonlyMap<string, Change>;
  /** The first panels of a section, where they are not in the natural order; all others follow. */
  order: ReadonlyMap<string, readonly string[]>;
  sections: ReadonlyMap<string, Settings>;
  /** For all sections. */
  all: Settings;
}

export interface Placed {
  id: string;
  title: string;
  metrics: readonly string[];
  /** How many metrics match beyond those that are drawn. */
  more: number;
  /** Made by a person, not by the page. */
  made: boolean;
  change: Change;
}

export interface PlacedSection {
  name: string;
  settings: Settings;
  panels: readonly Placed[];
  /** Panels that were removed. */
  gone: readonly Placed[];
}

export const AUTOMATIC: Layout = { panels: new Map(), order: new Map(), sections: new Map(), all: {} };
export const MOST_WIDE = 4;
export const MOST_TALL = 3;
/** The most metrics in one panel. */
export const MOST_METRICS = 20;
const MADE = /^panel:(\d{1,9})$/u;

/** The panel of a metric; the names of panels that people made are kept apart from those of metrics. */
export const idOf = (metric: string): string => (/^(panel|metric):/u.test(metric) ? `metric:${metric}` : metric);
const metricOfId = (id: string): string => (id.startsWith("metric:") ? id.slice("metric:".length) : id);

/** The sections with their panels in the order in which they are shown; `q` searches in metrics and titles. */
export function arrange(metrics: readonly string[], cut: Cut, layout: Layout, q = ""): PlacedSection[] {
  const found = new Map<string, { panels: Placed[]; gone: Placed[] }>();
  const put = (section: string, placed: Placed): void => {
    let here = found.get(section);
    if (!here) found.set(section, (here = { panels: [], gone: [] }));
    here[placed.change.gone ? "gone" : "panels"].push(placed);
  };
  for (const metric of metrics.toSorted(naturally)) {
    const id = idOf(metric);
    const change = layout.panels.get(id) ?? {};
    put(change.section ?? sectionOf(metric, cut), {
      ...{ id, title: change.title ?? metric, metrics: [metric], more: 0, made: false, change },
    });
  }
  for (const [id, change] of madeOf(layout)) {
    const all = change.pattern === undefined ? (change.metrics ?? []) : search(metrics, change.pattern);
    const drawn = all.slice(0, MOST_METRICS);
    put(change.section ?? "", {
      ...{ id, title: titleOf(change), metrics: drawn, more: all.length - drawn.length, made: true, change },
    });
  }
  const wanted = new Set(search(metrics, q));
  const fits = ({ metrics: own, title }: Placed): boolean =>
    q.trim() === "" || own.some((metric) => wanted.has(metric)) || search([title], q).length > 0;
  return [...found]
    .map(([name, { panels, gone }]) => ({
      name,
      settings: layout.sections.get(name) ?? {},
      panels: ordered(panels, layout.order.get(name) ?? []).filter(fits),
      gone: gone.filter(fits),
    }))
    .filter(({ panels, gone }) => panels.length > 0 || gone.length > 0)
    .toSorted((a, b) => naturally(a.name, b.name));
}

const numberOf = (id: string): number => Number(MADE.exec(id)?.[1] ?? 0);
const madeOf = (layout: Layout): [string, Change][] =>
  [...layout.panels].filter(([id]) => MADE.test(id)).toSorted(([a], [b]) => numberOf(a) - numberOf(b));

function titleOf({ title, metrics, pattern }: Change): string {
  if (title) return title;
  if (pattern !== undefined) return `/${pattern}/`;
  return metrics?.join(", ") || "No metric yet";
}

function ordered(panels: readonly Placed[], first: readonly string[]): Placed[] {
  if (first.length === 0) return [...panels];
  const known = new Map(panels.map((panel) => [panel.id, panel]));
  const front = first.flatMap((id) => known.get(id) ?? []);
  const there = new Set(front);
  return [...front, ...panels.filter((panel) => !there.has(panel))];
}

/** The settings of a panel, from the page's down to its own. */
export function settingsOf(layout: Layout, section: PlacedSection | null, panel: Placed): Settings {
  return { ...layout.all, ...section?.settings, ...panel.change.settings };
}

/** Where a panel is put: beside another one of the section, or at its end. */
export type Spot = { section: string; beside: string; side: "before" | "after" } | { section: string; beside: null };

/** The layout with a panel elsewhere. `metrics` are all of the project's. */
export function moved(layout: Layout, metrics: readonly string[], cut: Cut, id: string, spot: Spot): Layout {
  if (spot.beside === id) return layout;
  const { section: _, ...rest } = layout.panels.get(id) ?? {};
  const home = sectionIn(AUTOMATIC, id, cut);
  const change: Change = spot.section === home ? rest : { ...rest, section: spot.section };
  const next = withPanel(layout, id, change);
  const ids = (sections: readonly PlacedSection[]): string[] =>
    sections.find(({ name }) => name === spot.section)?.panels.map((panel) => panel.id) ?? [];
  const list = ids(arrange(metrics, cut, next)).filter((other) => other !== id);
  const beside = spot.beside === null ? -1 : list.indexOf(spot.beside);
  list.splice(beside < 0 ? list.length : beside + Number("side" in spot && spot.side === "after"), 0, id);
  const order = new Map([...next.order].map(([name, given]) => [name, given.filter((one) => one !== id)]));
  // Panels of runs that are not drawn now keep their places behind the same neighbours.
  const there = new Set(list);
  const before = order.get(spot.section) ?? [];
  before.forEach((one, i) => {
    if (!there.has(one)) list.splice(i === 0 ? 0 : list.indexOf(before[i - 1]!) + 1, 0, one);
  });
  return tidied({ ...next, order: order.set(spot.section, list) }, metrics, cut);
}

// What follows in the natural order need not be named.
function tidied(layout: Layout, metrics: readonly string[], cut: Cut): Layout {
  const natural = new Map(
    arrange(metrics, cut, { ...layout, order: new Map() }).flatMap(({ panels }) => panels.map((one, i) => [one.id, i])),
  );
  const order = [...layout.order].map(([name, given]): [string, string[]] => {
    const named = new Set(given);
    let least = Infinity;
    for (const [id, i] of natural)
      if (!named.has(id) && sectionIn(layout, id, cut) === name) least = Math.min(least, i);
    let end = given.length;
    for (; end > 0; end -= 1) {
      const at = natural.get(given[end - 1]!); // undefined: it is not drawn now
      if (at === undefined || at > least) break;
      least = at;
    }
    return [name, given.slice(0, end)];
  });
  return { ...layout, order: new Map(order.filter(([, ids]) => ids.length > 0)) };
}

/** The section of a panel. */
function sectionIn(layout: Layout, id: string, cut: Cut): string {
  return layout.panels.get(id)?.section ?? (MADE.test(id) ? "" : sectionOf(metricOfId(id), cut));
}

/** The layout with other properties of a panel; `undefined` takes a property back. */
export function withPanel(layout: Layout, id: string, change: Change): Layout {
  const panels = new Map(layout.panels);
  const given = Object.entries(change).filter(([, value]) => value !== undefined);
  if (given.length > 0) panels.set(id, Object.fromEntries(given));
  else panels.delete(id);
  return { ...layout, panels };
}

export function withSection(layout: Layout, name: string, settings: Settings): Layout {
  const sections = new Map(layout.sections);
  if (Object.keys(settings).length > 0) sections.set(name, settings);
  else sections.delete(name);
  return { ...layout, sections };
}

export function resized(layout: Layout, { id, change }: Placed, wide: number, tall: number): Layout {
  const { wide: _, tall: __, ...rest } = change;
  const [w, h] = [Math.min(MOST_WIDE, Math.max(1, wide)), Math.min(MOST_TALL, Math.max(1, tall))];
  return withPanel(layout, id, { ...rest, ...(w > 1 ? { wide: w } : {}), ...(h > 1 ? { tall: h } : {}) });
}

export function removed(layout: Layout, metrics: readonly string[], cut: Cut, { id, change, made }: Placed): Layout {
  if (!made) return withPanel(layout, id, { ...change, gone: true });
  const order = [...layout.order].map(([name, ids]): [string, string[]] => [name, ids.filter((one) => one !== id)]);
  return tidied({ ...withPanel(layout, id, {}), order: new Map(order) }, metrics, cut);
}

export function putBack(layout: Layout, gone: readonly Placed[]): Layout {
  return gone.reduce((made, { id, change }) => {
    const { gone: _, ...rest } = change;
    return withPanel(made, id, rest);
  }, layout);
}

/** The layout with a new panel, and its id. */
export function added(layout: Layout, change: Change): [Layout, string] {
  const id = `panel:${1 + Math.max(0, ...[...layout.panels.keys()].map(numberOf))}`;
  return [withPanel(layout, id, change), id];
}

/** The layout with a panel once more, behind it; and the id of the copy. */
export function duplicated(
  layout: Layout,
  metrics: readonly string[],
  cut: Cut,
  section: string,
  panel: Placed,
): [Layout, string] {
  const { change } = panel;
  const what = change.pattern === undefined ? { metrics: panel.metrics } : {};
  const [made, id] = added(layout, { ...change, ...what, section });
  return [moved(made, metrics, cut, id, { section, beside: panel.id, side: "after" }), id];
}
