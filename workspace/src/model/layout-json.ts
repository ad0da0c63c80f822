// Layouts as JSON, for the server and for links. Pure. Parsing never fails: what it does not understand is left out.

import { axisOf } from "./axis.ts";
import { AUTOMATIC, type Change, type Layout, MOST_TALL, MOST_WIDE, type Settings } from "./layout.ts";
import { METHODS } from "./smoothing.ts";

const MOST_TEXT = 500;

/** As JSON of the server and of links; the same text for the same layout. */
export function textOf(layout: Layout): string {
  const sorted = (map: ReadonlyMap<string, unknown>): object =>
    Object.fromEntries([...map].toSorted(([a], [b]) => (a < b ? -1 : 1)));
  const parts = Object.entries({
    panels: sorted(layout.panels),
    order: sorted(layout.order),
    sections: sorted(layout.sections),
    all: layout.all,
  });
  return stable(Object.fromEntries(parts.filter(([, part]) => Object.keys(part).length > 0)));
}

// Postgres returns the keys of an object in an order of its own.
function stable(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) =>
    typeof part === "object" && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : part,
  );
}

export const isSame = (a: Layout, b: Layout): boolean => a === b || textOf(a) === textOf(b);

/** What was stored or came with a link. */
export function parseLayout(given: unknown): Layout {
  if (!isFields(given)) return AUTOMATIC;
  const map = <T>(value: unknown, read: (one: unknown) => T | undefined): Map<string, T> =>
    new Map(
      (isFields(value) ? Object.entries(value) : []).flatMap(([key, one]): [string, T][] => {
        const made = read(one);
        return made === undefined ? [] : [[key, made]];
      }),
    );
  return {
    panels: map(given["panels"], changeOf),
    order: map(given["order"], (one) => texts(one)),
    sections: map(given["sections"], settings),
    all: settings(given["all"]) ?? {},
  };
}

export function parseLayoutText(text: string): Layout | null {
  try {
    return parseLayout(JSON.parse(text));
  } catch {
    return null;
  }
}

function changeOf(given: unknown): Change | undefined {
  if (!isFields(given)) return undefined;
  const change: Change = {};
  const text = (key: "section" | "title" | "pattern"): void => {
    const value = given[key];
    if (typeof value === "string") change[key] = value.slice(0, MOST_TEXT);
  };
  text("section");
  text("title");
  text("pattern");
  const metrics = texts(given["metrics"]);
  if (metrics) change.metrics = metrics;
  const size = (value: unknown, most: number): number | null =>
    typeof value === "number" && Number.isInteger(value) && value > 1 && value <= most ? value : null;
  const [wide, tall] = [size(given["wide"], MOST_WIDE), size(given["tall"], MOST_TALL)];
  if (wide) change.wide = wide;
  if (tall) change.tall = tall;
  if (given["gone"] === true) change.gone = true;
  const own = settings(given["settings"]);
  if (own) change.settings = own;
  return change;
}

function settings(given: unknown): Settings | undefined {
  if (!isFields(given)) return undefined;
  const made: Settings = {};
  const { axis, method, weight, log, low, high } = given;
  const known = typeof axis === "string" ? axisOf(axis) : undefined;
  if (known) made.axis = known;
  const way = METHODS.find((one) => one === method);
  if (way) made.method = way;
  if (typeof weight === "number" && weight >= 0 && weight < 1) made.weight = weight;
  if (typeof log === "boolean") made.log = log;
  if (typeof low === "number" && Number.isFinite(low)) made.low = low;
  if (typeof high === "number" && Number.isFinite(high)) made.high = high;
  return made;
}

const texts = (given: unknown): string[] | undefined =>
  Array.isArray(given) ? given.filter((one): one is string => typeof one === "string") : undefined;

const isFields = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
