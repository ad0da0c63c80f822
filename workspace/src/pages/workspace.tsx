// The workspace of a project: its runs at the left, as the legend, and the charts of the drawn ones.

import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import type { Run } from "../data/api.ts";
import { at, MOST, Project } from "../data/project.ts";
import * as format from "../model/format.ts";
import { runHref } from "../model/place.ts";
import { Failure, Note, slotOf, StateMark, Swatch } from "../parts/marks.tsx";
import { FilterField } from "../parts/filter.tsx";
import { Icon } from "../parts/icon.tsx";
import { LayoutNote, PageSettings } from "../parts/layout-note.tsx";
import { Sections } from "../parts/sections.tsx";
import { onChartKey } from "../parts/keys.ts";
import { axesOf, Toolbar } from "../parts/toolbar.tsx";
import { Top } from "../parts/top.tsx";
import { Views } from "../parts/views.tsx";
import { VirtualList } from "../parts/virtual.tsx";
import { change, ignored, view } from "../state.ts";

export default function Workspace({ entity, project: name }: { entity: string; project: string }) {
  const project = useMemo(() => new Project(entity, name), [entity, name]);
  const sheet = useSignal(false);
  const aside = useSignal(true);
  useEffect(() => () => project.close(), [project]);
  useEffect(() => {
    document.title = `${name} · Stepwell`;
    const onKey = (event: KeyboardEvent): void => {
      onChartKey(event);
      const typing = event.target instanceof HTMLInputElement;
      if (event.key === "[" && !typing) aside.value = !aside.value;
      if (event.key === "Escape" && !view.value.full) sheet.value = false;
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [name]);

  const drawn = project.drawn.value;
  const total = project.list.total.value;
  return (
    <div class="page">
      <Top entity={entity} project={name} current="workspace" live={project.live} />
      <div class={`ws${aside.value ? "" : " alone"}${sheet.value ? " sheet-open" : ""}`}>
        <Aside project={project} close={() => (sheet.value = false)} />
        <main>
          <Toolbar metrics={axesOf(project.metrics.value)}>
            <PageSettings project={project} />
            <Views entity={entity} project={name} page="workspace" />
          </Toolbar>
          <LayoutNote project={project} />
          <Notes project={project} />
          <Body project={project} drawn={drawn} total={total} />
        </main>
      </div>
      <div class="sheet">
        <span class="sws">
          {drawn.slice(0, 6).map((run) => (
            <Swatch key={run.id} slot={slotOf(run)} />
          ))}
        </span>
        <b class="strong">
          {drawn.length} {drawn.length === 1 ? "run" : "runs"}
        </b>
        {total !== null && <span class="dim">of {format.count(total)}</span>}
        <span class="grow" />
        <button class="btn" onClick={() => (sheet.value = true)}>
          Runs
        </button>
      </div>
    </div>
  );
}

function Notes({ project }: { project: Project }) {
  const error = project.list.error.value ?? project.error.value;
  if (error && error.status !== 404) return <Failure error={error} again={() => project.retry()} />;
  const gone = project.gone.value;
  if (gone.length > 0)
    return (
      <Note icon="link">
        <b class="strong">
          This link names {gone.length} {gone.length === 1 ? "run that is" : "runs that are"} gone.
        </b>{" "}
        The others are drawn.
      </Note>
    );
  if (ignored.value.length > 0)
    return (
      <Note icon="link" action={{ word: "Close", run: () => (ignored.value = []) }}>
        <b class="strong">A part of this link makes no sense here.</b>{" "}
        <span class="mono">{ignored.value.join(", ")}</span> was ignored.
      </Note>
    );
  return null;
}

function Body({ project, drawn, total }: { project: Project; drawn: readonly Run[]; total: number | null }) {
  const missing = project.list.error.value;
  if (missing?.status === 404)
    return (
      <div class="empty">
        <h1>There is no such project</h1>
        <p>{missing.hint}</p>
        <a class="btn" href="/">
          All projects
        </a>
      </div>
    );
  if (total === 0)
    return (
      <div class="empty">
        <h1>No run fits the filter</h1>
        {!view.value.archived && <p>Archived runs are left out.</p>}
        <button class="btn" onClick={() => change({ filter: "", archived: true })}>
          Show all runs
        </button>
      </div>
    );
  if (total !== null && drawn.length === 0 && view.value.runs !== null)
    return (
      <div class="empty">
        <h1>No run is drawn</h1>
        <p>The eye beside a run draws it.</p>
        <button class="btn" onClick={() => change({ runs: null })}>
          Draw the newest
        </button>
      </div>
    );
  const metrics = project.metrics.value;
  if (metrics && metrics.metrics.length === 0)
    return (
      <div class="empty">
        <h1>No numbers yet</h1>
        <p>The drawn runs have logged nothing that can be drawn. Their charts appear here as soon as they do.</p>
      </div>
    );
  return <Sections project={project} runs={drawn} />;
}

function Aside({ project, close }: { project: Project; close: () => void }) {
  const { list } = project;
  const runs = list.runs.value;
  const drawn = project.drawn.value;
  const ids = new Set(drawn.map((run) => run.id));
  const total = list.total.value;
  const { order } = view.value;
  const column = /^[+-](config|summary_metrics)\./u.test(order) ? order.slice(1) : null;
  return (
    <aside aria-label="Runs">
      <div class="tools">
        <FilterField project={project} placeholder="Filter: name, tag, lr<1e-3" />
        <button class="btn quiet ph-only" aria-label="Close the list of runs" onClick={close}>
          <Icon name="x" />
        </button>
      </div>
      <div class="rh">
        <button
          class="eye"
          aria-label={drawn.length > 0 ? "Hide all runs" : "Draw the newest runs"}
          onClick={() => change({ runs: drawn.length > 0 ? [] : null })}
        >
          <Icon name={drawn.length > 0 ? "eye" : "off"} />
        </button>
        <span />
        <span>Run</span>
        <span />
        <span class="num">step</span>
        <span class="num cut">{column ? column.replace(/^\w+\./u, "") : "duration"}</span>
      </div>
      {list.news.value > 0 && (
        <button class="news" onClick={() => void list.reload()}>
          {list.news.value} new {list.news.value === 1 ? "run" : "runs"}
        </button>
      )}
      <VirtualList
        class="runs"
        label="Runs"
        count={runs.length}
        onEnd={() => list.more()}
        row={(index) => {
          const run = runs[index]!;
          return (
            <Row key={run.id} run={run} drawn={ids.has(run.id)} toggle={() => toggle(drawn, run)} column={column} />
          );
        }}
      />
      <div class="foot">
        <span>
          {drawn.length} of {total === null ? "…" : format.count(total)} runs drawn
        </span>
        {view.value.runs !== null && (
          <button class="link" onClick={() => change({ runs: null })}>
            Draw the newest
          </button>
        )}
      </div>
    </aside>
  );
}

interface RowProps {
  run: Run;
  drawn: boolean;
  toggle: () => void;
  column: string | null;
}

function Row({ run, drawn, toggle, column }: RowProps) {
  return (
    <div class={`rr${drawn ? "" : " hid"}`} role="listitem" data-run={run.id}>
      <button class="eye" aria-pressed={drawn} aria-label={`Draw ${run.display_name}`} onClick={toggle}>
        <Icon name={drawn ? "eye" : "off"} />
      </button>
      <Swatch slot={slotOf(run)} faint={!drawn} />
      <a class="cut name" href={runHref(run.entity, run.project, run.id)} title={run.display_name}>
        {run.display_name}
      </a>
      <StateMark state={run.state} />
      <span class={`num${drawn ? " mid" : ""}`}>{run.last_step === null ? "–" : format.step(run.last_step)}</span>
      <span class="num cut">{column ? cell(run, column) : format.duration(run.duration_s ?? Number.NaN)}</span>
    </div>
  );
}

function cell(run: Run, column: string): string {
  const dot = column.indexOf(".");
  const key = column.slice(dot + 1);
  const value = column.startsWith("config.") ? at(run.config, key) : run.summary?.[key];
  return typeof value === "number" ? format.value(value) : value === undefined || value === null ? "–" : String(value);
}

function toggle(drawn: readonly Run[], run: Run): void {
  const ids = drawn.map((item) => item.id);
  const next = ids.includes(run.id) ? ids.filter((id) => id !== run.id) : [...ids, run.id];
  if (next.length <= MOST) change({ runs: next });
}
