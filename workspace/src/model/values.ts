// Config, summary and metadata as flat lists of keys and values. Pure.

import type { Json } from "../data/api.ts";
import * as format from "./format.ts";
import { naturally } from "./sections.ts";

/** Nested objects by dot path in natural order, without W&B's {"value": …}; an object of media is the name of its type. */
export function flat(values: Record<string, Json>, before = ""): [string, Json][] {
  return Object.entries(values)
    .toSorted(([a], [b]) => naturally(a, b))
    .flatMap(([key, value]): [string, Json][] => {
      const name = before + key;
      if (typeof value !== "object" || value === null || Array.isArray(value)) return [[name, value]];
      if ("_type" in value) return [[name, String(value["_type"])]];
      const keys = Object.keys(value);
      if (keys.length === 1 && keys[0] === "value") return [[name, value["value"]!]];
      return keys.length === 0 ? [[name, "{}"]] : flat(value, `${name}.`);
    });
}

/** The summary without step, time and duration of the last row, which pages show elsewhere. */
export function logged(values: Record<string, Json>): Record<string, Json> {
  return Object.fromEntries(
    Object.entries(values).filter(([key]) => !["_step", "_timestamp", "_runtime"].includes(key)),
  );
}

/** A value in one line. */
export function textOf(value: unknown): string {
  if (value === undefined || value === null) return "";
  if (typeof value === "number") return format.value(value);
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** A value with all of its digits. */
export function exactText(value: unknown): string {
  return typeof value === "number" ? format.exact(value) : textOf(value);
}
