// The page of one run: its names at the top, then overview, charts, media, system metrics, console and files.

import { useSignal } from "@preact/signals";
import type { ComponentType } from "preact";
import { useEffect, useMemo } from "preact/hooks";
import type { Mark } from "../chart/paint.ts";
import { type ApiError, get, type Run, runRoute, told } from "../data/api.ts";
import { edit } from "../data/edits.ts";
import { Project, startedAt } from "../data/project.ts";
import * as format from "../model/format.ts";
import { runHref, runsHref, type Tab, TABS, workspaceHref } from "../model/place.ts";
import { query, DEFAULT } from "../model/view.ts";
import { Icon } from "../parts/icon.tsx";
import { Failure, Note, slotOf, StateMark, Swatch } from "../parts/marks.tsx";
import { LayoutNote, PageSettings } from "../parts/layout-note.tsx";
import { Sections } from "../parts/sections.tsx";
import { isTyping, onChartKey } from "../parts/keys.ts";
import { axesOf, Toolbar } from "../parts/toolbar.tsx";
import { Top } from "../parts/top.tsx";
import { go, view } from "../state.ts";
import { Console } from "./run/console.tsx";
import { DeleteRuns, EditRun } from "./run/edit.tsx";
import { Files } from "./run/files.tsx";
import { Media } from "./run/media.tsx";
import { Overview } from "./run/overview.tsx";
import { System } from "./run/system.tsx";

const WORDS: Record<Tab, string> = {
  overview: "Overview",
  charts: "Charts",
  media: "Media",
  system: "System",
  console: "Console",
  files: "Files",
};

export interface TabProps {
  run: Run;
  project: Project;
  address: string;
}

export interface Rejection {
  writer: string;
  code: string;
  message: string;
  points: number;
  first_step: number | null;
  last_step: number | null;
  rejected_at: string;
}

export interface Alert {
  writer: string;
  time: string;
  step: number;
  level: string;
  title: string;
  text: string;
}

export default function RunPage({
  entity,
  project: name,
  run: id,
  tab,
}: {
  entity: string;
  project: string;
  run: string;
  tab: Tab;
}) {
  const project = useMemo(() => new Project(entity, name, id), [entity, name, id]);
  const address = runRoute(entity, name, id);
  const marks = useSignal<Mark[]>([]);
  const error = useSignal<ApiError | null>(null);
  useEffect(() => () => project.close(), [project]);
  useEffect(() => {
    addEventListener("keydown", onChartKey);
    return () => removeEventListener("keydown", onChartKey);
  }, []);
  const run = project.drawn.value[0];
  useEffect(() => {
    document.title = `${run?.display_name ?? id} · ${name} · Stepwell`;
  }, [run?.display_name, id]);
  useEffect(() => {
    Promise.all([
      get<{ rejections: Rejection[] }>(`${address}/rejections`),
      get<{ alerts: Alert[] }>(`${address}/alerts`),
    ]).then(
      ([{ rejections }, { alerts }]) =>
        (marks.value = [
          ...rejections.flatMap((item): Mark[] =>
            item.first_step === null ? [] : [{ kind: "rejected", x: item.first_step }],
          ),
          ...alerts.map((item): Mark => ({ kind: "alert", x: item.step })),
        ]),
      (problem: unknown) => {
        const shown = told(problem);
        if (shown.status !== 404) error.value = shown; // the request for the run reports that it does not exist
      },
    );
  }, [address, run?.rejected]);

  const top = <Top entity={entity} project={name} current="runs" live={project.live} />;
  if (project.gone.value.length > 0)
    return (
      <div class="page">
        {top}
        <main class="empty">
          <h1>There is no such run</h1>
          <p>
            {name} has no run {id}. It was deleted, or never logged to this server.
          </p>
          <a class="btn" href={runsHref(entity, name)}>
            Runs of {name}
          </a>
        </main>
      </div>
    );
  const problem = project.error.value ?? error.value;
  if (!run)
    return (
      <div class="page">
        {top}
        <main class="narrow">{problem && <Failure error={problem} again={() => project.retry()} />}</main>
      </div>
    );
  const Shown = PAGES[tab];
  return (
    <div class="page">
      {top}
      <Head run={run} tab={tab} project={project} />
      {problem && <Failure error={problem} again={() => project.retry()} />}
      {tab === "charts" ? (
        <main class="charts">
          <Toolbar metrics={axesOf(project.metrics.value)}>
            <PageSettings project={project} />
          </Toolbar>
          <LayoutNote project={project} />
          {project.metrics.value && project.metrics.value.metrics.length === 0 ? (
            <div class="empty">
              <h1>No numbers yet</h1>
              <p>This run has logged nothing that can be drawn. Its charts appear here as soon as it does.</p>
            </div>
          ) : (
            <Sections
              project={project}
              runs={project.drawn.value}
              marks={view.value.axis === "step" ? marks.value : NONE}
            />
          )}
        </main>
      ) : (
        Shown && <Shown run={run} project={project} address={address} />
      )}
    </div>
  );
}

const NONE: Mark[] = [];
const PAGES: Partial<Record<Tab, ComponentType<TabProps>>> = {
  overview: Overview,
  media: Media,
  system: System,
  console: Console,
  files: Files,
};

type Form = "name" | "tags" | "notes";

function Head({ run, tab, project }: { run: Run; tab: Tab; project: Project }) {
  const numbers: Partial<Record<Tab, number>> = { charts: project.metrics.value?.metrics.length ?? 0 };
  const form = useSignal<Form | null>(null);
  const asking = useSignal(false);
  const archive = (): Promise<void> =>
    edit(run, { archived: run.archived_at === null }).then(
      (edited) => project.changed(edited),
      (problem: unknown) => void (project.error.value = told(problem)),
    );
  useEffect(() => {
    const onKey = (event: KeyboardEvent): void => {
      const field = ({ e: "notes", t: "tags" } as const)[event.key.toLowerCase()];
      if (!field || isTyping(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      form.value = field;
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
  const { axis, method, weight, log, cut } = view.value;
  const keep = query({ ...DEFAULT, axis, method, weight, log, cut });
  return (
    <div class="head">
      <div class="h1">
        <Swatch slot={slotOf(run)} />
        <h1 class="cut" title={run.id}>
          {run.display_name}
        </h1>
        <StateMark state={run.state} word />
        {run.archived_at !== null && <span class="chip">archived</span>}
        {run.tags.map((tag) => (
          <span key={tag} class="chip">
            <Icon name="tag" />
            {tag}
          </span>
        ))}
        <span class="grow" />
        <a class="btn" href={workspaceHref(run.entity, run.project) + query({ ...DEFAULT, runs: [run.id] })}>
          Open in workspace
        </a>
        <button
          class="btn"
          title="Name, tags and note (E, T)"
          onClick={() => (form.value = form.value ? null : "notes")}
        >
          Edit
        </button>
        <button class="btn" onClick={() => void archive()} title="Archived runs are left out of lists; nothing is lost">
          {run.archived_at === null ? "Archive" : "Bring back"}
        </button>
        <button class="btn danger" aria-label="Delete this run" onClick={() => (asking.value = !asking.value)}>
          Delete
        </button>
        <button
          class="btn"
          title={run.id}
          onClick={() => void navigator.clipboard?.writeText(run.id).catch(() => undefined)}
        >
          <Icon name="copy" />
          Run id
        </button>
      </div>
      {form.value && (
        <EditRun
          run={run}
          first={form.value}
          changed={(edited) => project.changed(edited)}
          close={() => (form.value = null)}
        />
      )}
      {asking.value && (
        <DeleteRuns
          runs={[run]}
          deleted={() => go(runsHref(run.entity, run.project))}
          close={() => (asking.value = false)}
        />
      )}
      <Facts run={run} />
      {run.state === "crashed" && (
        <Note kind="warn" icon="crashed">
          <b class="strong">
            This run went silent{run.last_step === null ? "" : ` at step ${format.step(run.last_step)}`}.
          </b>{" "}
          {run.heartbeat_at && `Its processes were heard last on ${format.when(run.heartbeat_at)}. `}
          It becomes running again when one returns.
        </Note>
      )}
      <nav class="sub" aria-label="Run">
        {TABS.map((name) => (
          <a
            key={name}
            href={runHref(run.entity, run.project, run.id, name) + keep}
            {...(name === tab ? { "aria-current": "page" as const } : {})}
          >
            {WORDS[name]} {numbers[name] ? <span class="n">{format.count(numbers[name])}</span> : null}
          </a>
        ))}
      </nav>
    </div>
  );
}

function Facts({ run }: { run: Run }) {
  const seconds = run.duration_s ?? Number.NaN;
  const steps = (run.last_step ?? -1) + 1;
  const speed = steps > 1 && seconds > 0 ? steps / seconds : null;
  return (
    <dl class="facts">
      <Fact word="Step" value={run.last_step === null ? "–" : format.step(run.last_step)} />
      <Fact word="Time" value={format.duration(seconds)} />
      {speed !== null && <Fact word="Speed" value={`${format.value(Number(speed.toPrecision(3)))} steps/s`} />}
      <Fact word="Writers" value={format.count(run.writers)} {...(run.host ? { more: run.host } : {})} />
      <Fact word="Points" value={format.count(run.points ?? 0)} />
      {(run.rejected ?? 0) > 0 && <Fact word="Rejected" value={`${format.count(run.rejected!)} frames`} bad />}
      {run.parent && <Fact word="Forked from" value={run.parent} more={`at step ${format.step(run.fork_step ?? 0)}`} />}
      <Fact
        word="Started"
        value={format.when(startedAt(run) * 1000)}
        {...(run.username ? { more: `by ${run.username}` } : {})}
      />
      {run.exit_code !== null && run.exit_code !== 0 && <Fact word="Exit code" value={String(run.exit_code)} bad />}
    </dl>
  );
}

function Fact({ word, value, more, bad = false }: { word: string; value: string; more?: string; bad?: boolean }) {
  return (
    <div>
      <dt>{word}</dt>
      <dd class={bad ? "bad" : ""}>{value}</dd>
      {more && <dd class="dim">{more}</dd>}
    </div>
  );
}
