// The optional columns of the table of runs, and the list from which they are chosen by typing.

import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { Run } from "../data/api.ts";
import { at } from "../data/project.ts";
import * as format from "../model/format.ts";
import { naturally } from "../model/sections.ts";
import { change, view } from "../state.ts";

const USUAL = 5;

/** "config.lr" or "summary.train/loss": the columns of the link, or some metrics and the configs that differ most. */
export function columnsOf(runs: readonly Run[], usual: readonly string[]): readonly string[] {
  if (view.value.columns !== null) return view.value.columns;
  const configs = configKeys(runs).filter((key) => differs(runs, key));
  return [...usual, ...configs.slice(0, USUAL).map((key) => `config.${key}`)];
}

/** The value of a column; undefined: the run lacks it. */
export function valueOf(run: Run, column: string): unknown {
  if (column.startsWith("config.")) return at(run.config, column.slice("config.".length));
  return run.summary?.[column.slice("summary.".length)];
}

/** A value in one line. */
export function textOf(value: unknown): string {
  if (value === undefined || value === null) return "";
  if (typeof value === "number") return format.value(value);
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** Keys of configs, nested ones by their dot paths. */
function configKeys(runs: readonly Run[]): string[] {
  const found = new Set<string>();
  const walk = (values: Run["config"], before: string): void => {
    for (const [key, value] of Object.entries(values)) {
      if (before === "" && key.startsWith("_")) continue;
      const plain = typeof value !== "object" || value === null || Array.isArray(value) || "value" in value;
      if (plain) found.add(before + key);
      else walk(value, `${before}${key}.`);
    }
  };
  for (const run of runs) walk(run.config, "");
  return [...found].toSorted(naturally);
}

function differs(runs: readonly Run[], key: string): boolean {
  const first = JSON.stringify(at(runs[0]?.config ?? {}, key));
  return runs.some((run) => JSON.stringify(at(run.config, key)) !== first);
}

interface Props {
  runs: readonly Run[];
  metrics: readonly string[];
  usual: readonly string[];
  close: () => void;
}

export function ColumnPicker({ runs, metrics, usual, close }: Props) {
  const text = useSignal("");
  const box = useRef<HTMLDivElement>(null);
  const chosen = columnsOf(runs, usual);
  const all = [...metrics.map((key) => `summary.${key}`), ...configKeys(runs).map((key) => `config.${key}`)];
  const found = all.filter((column) => column.toLowerCase().includes(text.value.toLowerCase()));
  useEffect(() => {
    box.current?.querySelector("input")?.focus();
    const outside = (event: Event): void => {
      if (event.target instanceof Node && !box.current?.contains(event.target)) close();
    };
    const escape = (event: KeyboardEvent): void => {
      if (event.key === "Escape") close();
    };
    addEventListener("pointerdown", outside);
    addEventListener("keydown", escape);
    return () => {
      removeEventListener("pointerdown", outside);
      removeEventListener("keydown", escape);
    };
  }, []);
  const toggle = (column: string): void =>
    change({ columns: chosen.includes(column) ? chosen.filter((name) => name !== column) : [...chosen, column] });
  return (
    <div class="pop pick-list" ref={box} role="dialog" aria-label="Columns">
      <label class="field on">
        <input
          type="search"
          aria-label="Find a column"
          value={text.value}
          onInput={(event) => (text.value = event.currentTarget.value)}
        />
        <span class="dim">
          {found.length} of {all.length}
        </span>
      </label>
      <div class="opts">
        {(["summary.", "config."] as const).map((place) => {
          const mine = found.filter((column) => column.startsWith(place)).slice(0, 200);
          return (
            mine.length > 0 && (
              <div key={place}>
                <h3>{place === "summary." ? "Summary" : "Config"}</h3>
                {mine.map((column) => (
                  <label key={column} class="o">
                    <input type="checkbox" checked={chosen.includes(column)} onChange={() => toggle(column)} />
                    <span class="mono cut">{column.slice(place.length)}</span>
                  </label>
                ))}
              </div>
            )
          );
        })}
        {found.length === 0 && <p class="dim">No column fits</p>}
      </div>
      <div class="row">
        <span class="grow" />
        <button class="link" onClick={() => change({ columns: null })}>
          Reset
        </button>
      </div>
    </div>
  );
}
