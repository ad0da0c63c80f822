// The optional columns of the table of runs, and the lists from which columns are chosen by typing.

import type { Run } from "../data/api.ts";
import { at } from "../data/project.ts";
import { GROUP_FIELDS } from "../model/groups.ts";
import { naturally } from "../model/sections.ts";
import { change, view } from "../state.ts";
import { Picker } from "./picker.tsx";

const USUAL = 5;
/** The server groups by that many columns. */
const MOST_GROUPED = 5;

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
  const chosen = columnsOf(runs, usual);
  return (
    <Picker
      label="Columns"
      find="Find a column"
      lists={[
        { title: "Summary", options: metrics.map((key) => [`summary.${key}`, key]) },
        { title: "Config", options: configKeys(runs).map((key) => [`config.${key}`, key]) },
      ]}
      chosen={chosen}
      toggle={(column) =>
        change({ columns: chosen.includes(column) ? chosen.filter((name) => name !== column) : [...chosen, column] })
      }
      reset={() => change({ columns: null })}
      close={close}
    />
  );
}

/** Chooses by which columns the runs are grouped. */
export function GroupPicker({ runs, close }: { runs: readonly Run[]; close: () => void }) {
  const { group } = view.value;
  const put = (next: readonly string[]): void => change({ group: next, open: [] });
  return (
    <Picker
      label="Group by"
      find="Find a column to group by"
      lists={[
        { title: "Config", options: configKeys(runs).map((key) => [`config.${key}`, key]) },
        { title: "Run", options: Object.entries(GROUP_FIELDS) },
      ]}
      chosen={group}
      toggle={(column) => {
        if (group.includes(column)) put(group.filter((name) => name !== column));
        else if (group.length < MOST_GROUPED) put([...group, column]);
      }}
      reset={() => put([])}
      close={close}
    />
  );
}
