// The runs of a project as a table: filtered and sorted by the server, with columns of config and summary. Only visible
// rows are in the document.

import { useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { get, type Run, type RunPage } from "../data/api.ts";
import { MOST, Project } from "../data/project.ts";
import { compile } from "../model/filter.ts";
import * as format from "../model/format.ts";
import { runHref, workspaceHref } from "../model/place.ts";
import { ColumnPicker, columnsOf, textOf, valueOf } from "../parts/columns.tsx";
import { csv, save } from "../parts/csv.ts";
import { FilterField } from "../parts/filter.tsx";
import { Icon } from "../parts/icon.tsx";
import { Failure, slotOf, StateMark, Swatch } from "../parts/marks.tsx";
import { CopyButton, onChartKey } from "../parts/toolbar.tsx";
import { Top } from "../parts/top.tsx";
import { change, go, kept, view } from "../state.ts";
import { DeleteRuns } from "./run/edit.tsx";

const ROW = 28;
const SPARE = 10;

/** A column: its name, its order, and its cells. */
interface Column {
  key: string;
  title: string;
  width: number;
  order: string | null;
  number: boolean;
  show: (run: Run) => string;
}

const FIXED: Column[] = [
  {
    key: "last_step",
    title: "step",
    width: 90,
    order: "last_step",
    number: true,
    show: (run) => (run.last_step === null ? "" : format.step(run.last_step)),
  },
  {
    key: "duration",
    title: "Duration",
    width: 100,
    order: "duration",
    number: true,
    show: (run) => (run.duration_s === null ? "" : format.duration(run.duration_s)),
  },
  {
    key: "created_at",
    title: "Started",
    width: 120,
    order: "created_at",
    number: true,
    show: (run) => format.when(run.created_at),
  },
];

function columnFor(name: string, runs: readonly Run[]): Column {
  const [place, key] = name.startsWith("config.") ? ["config", name.slice(7)] : ["summary_metrics", name.slice(8)];
  const number = place === "summary_metrics" || runs.some((run) => typeof valueOf(run, name) === "number");
  return {
    key: name,
    title: key,
    width: Math.min(260, Math.max(96, key.length * 7 + 30)),
    order: `${place}.${key}`,
    number,
    show: (run) => textOf(valueOf(run, name)),
  };
}

export default function Runs({ entity, project: name }: { entity: string; project: string }) {
  const project = useMemo(() => new Project(entity, name), [entity, name]);
  const picking = useSignal(false);
  const selected = useSignal<ReadonlySet<string>>(new Set());
  const saving = useSignal(false);
  const deleting = useSignal(false);
  useEffect(() => () => project.close(), [project]);
  useEffect(() => {
    document.title = `Runs · ${name} · Stepwell`;
    addEventListener("keydown", onChartKey);
    return () => removeEventListener("keydown", onChartKey);
  }, [name]);
  const { list } = project;
  const runs = list.runs.value;
  const total = list.total.value;
  const names = columnsOf(runs, project.usual.value);
  const columns = [...names.map((column) => columnFor(column, runs)), ...FIXED];
  const metrics = project.metrics.value?.metrics.map((metric) => metric.name) ?? [];
  const error = list.error.value;

  const exportAll = async (): Promise<void> => {
    saving.value = true;
    try {
      const found = await everyRun(project.path, names);
      const head = ["run", "name", "state", "tags", ...columns.map((column) => column.title)];
      const rows = found.map((run) => [
        ...[run.id, run.display_name, run.state, run.tags.join(" ")],
        ...names.map((column) => valueOf(run, column)),
        ...[run.last_step, run.duration_s, run.created_at],
      ]);
      save(`${name}-runs.csv`, csv([head, ...rows]), "text/csv");
    } finally {
      saving.value = false;
    }
  };

  return (
    <div class="page">
      <Top entity={entity} project={name} current="runs" live={project.live} />
      <main class="pg">
        <div class="fb">
          <FilterField
            project={project}
            placeholder="state in (running, finished) and tag != smoke and eval/loss < 3.2"
          />
          <CopyButton />
          <button class="btn" disabled={saving.value || runs.length === 0} onClick={() => void exportAll()}>
            <Icon name="dl" />
            {saving.value ? "Reading…" : "CSV"}
          </button>
          <span class="anchor">
            <button class="btn" aria-pressed={picking.value} onClick={() => (picking.value = !picking.value)}>
              <Icon name="cols" />
              Columns <span class="v">{names.length}</span>
            </button>
            {picking.value && (
              <ColumnPicker
                runs={runs}
                metrics={metrics}
                usual={project.usual.value}
                close={() => (picking.value = false)}
              />
            )}
          </span>
          <a class="btn pri" href={workspaceHref(entity, name) + kept("runs", "filter", "order")}>
            Open in workspace
          </a>
        </div>
        {error && error.status !== 404 && <Failure error={error} again={() => void list.reload()} />}
        {error?.status === 404 ? (
          <div class="empty">
            <h1>There is no such project</h1>
            <p>{error.hint}</p>
          </div>
        ) : total === 0 ? (
          <div class="empty">
            <h1>No run fits the filter</h1>
            <button class="btn" onClick={() => change({ filter: "" })}>
              Show all runs
            </button>
          </div>
        ) : (
          <Table
            project={project}
            columns={columns}
            selected={selected.value}
            select={(ids) => (selected.value = ids)}
          />
        )}
        {deleting.value && (
          <DeleteRuns
            runs={runs.filter((run) => selected.value.has(run.id))}
            deleted={(gone) => {
              const ids = new Set(gone.map((run) => run.id));
              list.drop(ids);
              selected.value = new Set([...selected.value].filter((id) => !ids.has(id)));
            }}
            close={() => (deleting.value = false)}
          />
        )}
        {selected.value.size > 0 && !deleting.value && (
          <div class="pop bulk" role="toolbar" aria-label="Selected runs">
            <b class="strong">
              {selected.value.size} {selected.value.size === 1 ? "run" : "runs"} selected
            </b>
            <button
              class="btn quiet"
              disabled={selected.value.size > MOST}
              title={selected.value.size > MOST ? `At most ${MOST} runs are drawn` : ""}
              onClick={() => {
                change({ runs: [...selected.value] });
                go(workspaceHref(entity, name) + kept("runs", "filter", "order"));
              }}
            >
              <Icon name="eye" />
              Draw
            </button>
            <button class="btn quiet danger" onClick={() => (deleting.value = true)}>
              Delete
            </button>
            <button class="btn quiet" aria-label="Clear the selection" onClick={() => (selected.value = new Set())}>
              <Icon name="x" />
            </button>
          </div>
        )}
        <div class="ft">
          <span>
            {format.count(runs.length)} of {total === null ? "…" : format.count(total)} runs read
          </span>
          {list.news.value > 0 && (
            <button class="link" onClick={() => void list.reload()}>
              {list.news.value} new
            </button>
          )}
          <span class="grow" />
          <span class="opt">
            <kbd>/</kbd> filter
          </span>
        </div>
      </main>
    </div>
  );
}

interface TableProps {
  project: Project;
  columns: Column[];
  selected: ReadonlySet<string>;
  select: (ids: ReadonlySet<string>) => void;
}

function Table({ project, columns, selected, select }: TableProps) {
  const box = useRef<HTMLDivElement>(null);
  const seen = useSignal<[number, number]>([0, 60]);
  const runs = project.list.runs.value;
  const drawn = new Set(project.drawn.value.map((run) => run.id));
  const rowHeight = (): number =>
    Number.parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--row")) || ROW;
  const look = (): void => {
    const element = box.current;
    if (!element) return;
    const height = rowHeight();
    const from = Math.max(0, Math.floor(element.scrollTop / height) - SPARE);
    const to = Math.ceil((element.scrollTop + element.clientHeight) / height) + SPARE;
    if (from !== seen.value[0] || to !== seen.value[1]) seen.value = [from, to];
    if (to >= runs.length) project.list.more();
  };
  useEffect(() => {
    const observer = new ResizeObserver(look);
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);
  useEffect(look, [runs.length]);
  const { order } = view.value;
  const [from, to] = [Math.min(seen.value[0], runs.length), Math.min(seen.value[1], runs.length)];
  const toggle = (id: string): void => {
    const next = new Set(selected);
    if (!next.delete(id)) next.add(id);
    select(next);
  };
  const draw = (id: string): void => {
    const ids = [...drawn];
    const next = drawn.has(id) ? ids.filter((item) => item !== id) : [...ids, id];
    if (next.length <= MOST) change({ runs: next });
  };
  return (
    <div class="tw" ref={box} onScroll={look}>
      <table class="t runs-table" aria-rowcount={project.list.total.value ?? -1}>
        <colgroup>
          {[34, 34, 240, 112, ...columns.map((column) => column.width), 160].map((width, i) => (
            <col key={i} style={{ width: `${width}px` }} />
          ))}
        </colgroup>
        <thead>
          <tr>
            <th class="p ctr">
              <input
                type="checkbox"
                aria-label="Select all runs that were read"
                checked={runs.length > 0 && selected.size === runs.length}
                onChange={() => select(selected.size > 0 ? new Set() : new Set(runs.map((run) => run.id)))}
              />
            </th>
            <th class="p ctr">
              <Icon name="eye" />
            </th>
            <Head title="Run" order="display_name" current={order} pinned />
            <Head title="State" order="state" current={order} />
            {columns.map((column) => (
              <Head key={column.key} title={column.title} order={column.order} current={order} number={column.number} />
            ))}
            <th>Tags</th>
          </tr>
        </thead>
        <tbody>
          <tr class="gap" style={{ height: `${from * rowHeight()}px` }} aria-hidden="true" />
          {runs.slice(from, to).map((run, i) => (
            <tr key={run.id} class={selected.has(run.id) ? "sel" : ""} aria-rowindex={from + i + 2} data-run={run.id}>
              <td class="p ctr">
                <input
                  type="checkbox"
                  aria-label={`Select ${run.display_name}`}
                  checked={selected.has(run.id)}
                  onChange={() => toggle(run.id)}
                />
              </td>
              <td class="p ctr">
                <button
                  class={`eye${drawn.has(run.id) ? "" : " dim"}`}
                  aria-pressed={drawn.has(run.id)}
                  aria-label={`Draw ${run.display_name}`}
                  onClick={() => draw(run.id)}
                >
                  <Icon name={drawn.has(run.id) ? "eye" : "off"} />
                </button>
              </td>
              <td class="p last">
                <span class="name">
                  <Swatch slot={slotOf(run)} />
                  <a
                    class={`plain cut${drawn.has(run.id) ? " strong" : ""}`}
                    href={runHref(run.entity, run.project, run.id)}
                    title={run.display_name}
                  >
                    {run.display_name}
                  </a>
                </span>
              </td>
              <td>
                <StateMark state={run.state} word />
              </td>
              {columns.map((column) => {
                const text = column.show(run);
                return (
                  <td key={column.key} class={column.number ? "num" : ""} title={text}>
                    {text}
                  </td>
                );
              })}
              <td>
                {run.tags.map((tag) => (
                  <span key={tag} class="chip small">
                    {tag}
                  </span>
                ))}
              </td>
            </tr>
          ))}
          <tr class="gap" style={{ height: `${(runs.length - to) * rowHeight()}px` }} aria-hidden="true" />
        </tbody>
      </table>
    </div>
  );
}

interface HeadProps {
  title: string;
  order: string | null;
  current: string;
  number?: boolean;
  pinned?: boolean;
}

function Head({ title, order, current, number = false, pinned = false }: HeadProps) {
  const sorted = order !== null && current.slice(1) === order;
  const descending = current.startsWith("-");
  const name = [number ? "num" : "", pinned ? "p last" : "", sorted ? "sorted" : ""].join(" ");
  return (
    <th class={name} aria-sort={sorted ? (descending ? "descending" : "ascending") : "none"}>
      {order === null ? (
        title
      ) : (
        <button
          class="sort cut"
          title={title}
          onClick={() =>
            change({ order: `${sorted && !descending ? "-" : sorted ? "+" : number ? "-" : "+"}${order}` })
          }
        >
          {sorted && <Icon name={descending ? "desc" : "asc"} />}
          {title}
        </button>
      )}
    </th>
  );
}

/** Every run that matches the filter, window by window. */
async function everyRun(path: string, columns: readonly string[]): Promise<Run[]> {
  const { filter, order } = view.value;
  const { filters } = compile(filter);
  const summary = columns.filter((name) => name.startsWith("summary.")).map((name) => name.slice("summary.".length));
  const found: Run[] = [];
  let cursor: string | null = null;
  do {
    const page: RunPage = await get("/v1/runs", {
      ...{ path, order, summary, cursor, limit: 500 },
      filters: filters === null ? null : JSON.stringify(filters),
    });
    found.push(...page.runs);
    cursor = page.next;
  } while (cursor !== null);
  return found;
}
