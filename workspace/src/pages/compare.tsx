// Several runs side by side: config, summary and what else is known of each, differences first. The link has the runs.

import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import type { Run } from "../data/api.ts";
import { Comparison } from "../data/comparison.ts";
import { MOST_SIDES, parts, type Shown, shownOf, type Side } from "../model/compare.ts";
import * as format from "../model/format.ts";
import { runsHref, workspaceHref } from "../model/place.ts";
import { csv, save } from "../parts/csv.ts";
import { Icon } from "../parts/icon.tsx";
import { Failure, Note } from "../parts/marks.tsx";
import { RunPicker } from "../parts/run-picker.tsx";
import { onChartKey } from "../parts/keys.ts";
import { CopyButton } from "../parts/toolbar.tsx";
import { Top } from "../parts/top.tsx";
import { change, kept, view } from "../state.ts";
import { FirstDifference } from "./compare/divergence.tsx";
import { CompareTable } from "./compare/table.tsx";

export default function Compare({ entity, project: name }: { entity: string; project: string }) {
  const comparison = useMemo(() => new Comparison(entity, name), [entity, name]);
  useEffect(() => () => comparison.close(), [comparison]);
  useEffect(() => {
    document.title = `Compare · ${name} · Stepwell`;
    addEventListener("keydown", onChartKey);
    return () => removeEventListener("keydown", onChartKey);
  }, [name]);
  const { runs, q, same } = view.value;
  const ids = runs?.slice(0, MOST_SIDES) ?? null;
  useEffect(() => comparison.want(ids), [comparison, ids?.join("\n")]);
  const sides = comparison.sides.value;
  const all = useMemo(() => parts(sides), [sides]);
  const shown = useMemo(() => shownOf(all, q, same), [all, q, same]);
  const gone = comparison.gone.value.filter((id) => ids?.includes(id));
  const chosen = sides.map(({ run }) => run.id);
  const error = comparison.error.value;
  const put = (next: readonly string[]): void => change({ runs: next });
  const exportAll = (): void => {
    const head = ["part", "key", ...sides.map(({ run }) => run.display_name)];
    const rows = shown.flatMap(({ part, row }) => (row ? [[part.name, row.key, ...row.cells]] : []));
    save(`${name}-comparison.csv`, csv([head, ...rows]), "text/csv");
  };
  return (
    <div class="page">
      <Top entity={entity} project={name} current="compare" />
      <main class="pg">
        <div class="fb">
          <label class="field search grow">
            <Icon name="search" />
            <input
              id="filter"
              type="search"
              value={q}
              placeholder="Keys, e.g. lr"
              aria-label="Search keys"
              onInput={(event) => change({ q: event.currentTarget.value })}
            />
          </label>
          <button class="btn" aria-pressed={same} onClick={() => change({ same: !same })}>
            Show equal
          </button>
          <AddRun path={`${entity}/${name}`} chosen={chosen} put={put} />
          <CopyButton />
          <button class="btn lg" disabled={shown.length === 0} onClick={exportAll}>
            <Icon name="dl" />
            CSV
          </button>
          <a class="btn pri" href={workspaceHref(entity, name) + kept("runs", "filter", "order")}>
            Draw in workspace
          </a>
        </div>
        {error && <Failure error={error} again={() => comparison.retry()} />}
        {gone.length > 0 && (
          <Note icon="link">
            <b class="strong">
              This link names {gone.length} {gone.length === 1 ? "run that is" : "runs that are"} gone.
            </b>{" "}
            The others are compared.
          </Note>
        )}
        {(runs?.length ?? 0) > MOST_SIDES && (
          <Note icon="link">
            <b class="strong">{format.counted(runs!.length, "run")} are chosen.</b> The first {MOST_SIDES} are compared.
          </Note>
        )}
        {comparison.complete.value && sides.length < 2 && !error && <TooFew entity={entity} name={name} />}
        <FirstDifference entity={entity} project={name} sides={sides} />
        {sides.length > 0 && shown.length > 0 && (
          <CompareTable
            sides={sides}
            shown={shown}
            first={(run) => put([run.id, ...chosen.filter((id) => id !== run.id)])}
            remove={(run) => put(chosen.filter((id) => id !== run.id))}
          />
        )}
        {sides.length > 1 && shown.length === 0 && <Nothing q={q} />}
        <div class="ft">{sides.length > 1 && <Counts sides={sides} shown={shown} />}</div>
      </main>
    </div>
  );
}

interface AddProps {
  path: string;
  chosen: readonly string[];
  put: (ids: readonly string[]) => void;
}

function AddRun({ path, chosen, put }: AddProps) {
  const open = useSignal(false);
  const full = chosen.length >= MOST_SIDES;
  const choose = (run: Run): void => {
    open.value = false;
    put([...chosen, run.id]);
  };
  return (
    <span class="anchor">
      <button
        class="btn"
        aria-expanded={open.value}
        disabled={full}
        title={full ? `At most ${MOST_SIDES} runs are compared` : ""}
        onClick={() => (open.value = !open.value)}
      >
        <Icon name="plus" />
        Run
      </button>
      {open.value && (
        <RunPicker path={path} without={new Set(chosen)} choose={choose} close={() => (open.value = false)} />
      )}
    </span>
  );
}

function TooFew({ entity, name }: { entity: string; name: string }) {
  return (
    <div class="empty">
      <h1>A comparison needs two runs</h1>
      <p>Select 2 to {MOST_SIDES} runs in the table of runs, or add them here.</p>
      <a class="btn" href={runsHref(entity, name) + kept("filter", "order")}>
        Runs of {name}
      </a>
    </div>
  );
}

function Nothing({ q }: { q: string }) {
  return (
    <div class="empty">
      <h1>{q === "" ? "These runs do not differ" : "No key fits"}</h1>
      {!view.value.same && (
        <button class="btn" onClick={() => change({ same: true })}>
          Show equal
        </button>
      )}
      {q !== "" && (
        <button class="btn" onClick={() => change({ q: "" })}>
          Show all keys
        </button>
      )}
    </div>
  );
}

function Counts({ sides, shown }: { sides: readonly Side[]; shown: readonly Shown[] }) {
  const rows = shown.filter(({ row }) => row !== null).length;
  return (
    <>
      <span>
        {sides.length} runs, {format.counted(rows, "key")}
      </span>
      <span class="grow" />
      <span class="opt cut">Small numbers are the differences to {sides[0]!.run.display_name}</span>
    </>
  );
}
