// The SQL page of a project: an editor, the names that queries can use, and the result as a table and a chart. The link
// contains the query, which never runs before the reader asks for it.

import { useComputed, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { type ApiError, isAbort, told } from "../data/api.ts";
import { ask, metrics as readMetrics, type Relation, relations as readRelations } from "../data/sql.ts";
import * as format from "../model/format.ts";
import { quoted, type Result, starter } from "../model/result.ts";
import { csv, save } from "../parts/csv.ts";
import Editor from "../parts/editor.tsx";
import { type Past } from "../model/history.ts";
import { Grid } from "../parts/grid.tsx";
import { History, readHistory, remember } from "../parts/history.tsx";
import { Icon } from "../parts/icon.tsx";
import { Failure, Note } from "../parts/marks.tsx";
import { ResultChart } from "../parts/result-chart.tsx";
import { CopyButton } from "../parts/toolbar.tsx";
import { Top } from "../parts/top.tsx";
import { change, view } from "../state.ts";

const LIMITS_S = [10, 60];
const MOST_METRICS = 200;

interface Answer {
  query: string;
  result: Result;
  at: Date;
}

export default function Sql({ entity, project }: { entity: string; project: string }) {
  const answer = useSignal<Answer | null>(null);
  const error = useSignal<ApiError | null>(null);
  const running = useSignal<AbortController | null>(null);
  const path = `${entity}/${project}`;
  const past = useSignal<readonly Past[]>([]);
  useEffect(() => void (past.value = readHistory(path)), [path]);
  const seconds = useSignal(LIMITS_S[0]!);
  const relations = useSignal<readonly Relation[]>([]);
  const metrics = useSignal<readonly { name: string; runs: number }[]>([]);
  const linked = useRef(view.value.sql !== null);
  const first = useRef(starter(entity, project));
  const text = useComputed(() => view.value.sql ?? first.current);

  useEffect(() => {
    document.title = `SQL · ${project} · Stepwell`;
    const reading = new AbortController();
    // The editor works without these names. If the server has a problem, the reader's next query shows it.
    readRelations(reading.signal).then(
      (found) => (relations.value = found),
      () => undefined,
    );
    readMetrics(`${entity}/${project}`, reading.signal).then(
      (found) => (metrics.value = found),
      () => undefined,
    );
    return () => {
      reading.abort();
      running.peek()?.abort();
    };
  }, [entity, project]);

  const run = async (): Promise<void> => {
    running.value?.abort();
    const mine = new AbortController();
    running.value = mine;
    error.value = null;
    linked.current = false;
    const query = text.value;
    remember(path, past, query);
    try {
      const result = await ask(query, seconds.value, mine.signal);
      if (running.value === mine) answer.value = { query, result, at: new Date() };
    } catch (problem) {
      if (running.value === mine && !isAbort(problem)) error.value = told(problem);
    } finally {
      if (running.value === mine) running.value = null;
    }
  };
  const shown = answer.value;
  return (
    <div class="page">
      <Top entity={entity} project={project} current="sql" />
      <div class="ws sql">
        <Names
          relations={relations.value}
          metrics={metrics.value}
          onView={(name) =>
            change({
              sql: `SELECT *\nFROM ${name}\nWHERE entity = ${quoted(entity)} AND project = ${quoted(project)}\nLIMIT 100`,
            })
          }
        />
        <main>
          <div class="card">
            <Editor
              text={text}
              relations={relations.value}
              metrics={metrics.value}
              onText={(sql) => change({ sql: sql === first.current ? null : sql })}
              onRun={() => void run()}
            />
          </div>
          <div class="act">
            {running.value ? (
              <button class="btn" onClick={() => running.value?.abort()}>
                <Icon name="stop" />
                Cancel
              </button>
            ) : (
              <button class="btn pri" onClick={() => void run()}>
                <Icon name="play" />
                Run <span class="key">Ctrl Enter</span>
              </button>
            )}
            <label class="btn pick">
              <span class="v">Time limit</span>
              <select
                value={seconds.value}
                aria-label="Time limit"
                onChange={(event) => (seconds.value = Number(event.currentTarget.value))}
              >
                {LIMITS_S.map((limit) => (
                  <option key={limit} value={limit}>
                    {limit} s
                  </option>
                ))}
              </select>
            </label>
            <History past={past.value} choose={(sql) => change({ sql })} />
            <span class="grow" />
            <span class="mid" role="status">
              {running.value ? "Running…" : shown && reportOf(shown, text.value)}
            </span>
            <CopyButton />
            <button
              class="btn"
              disabled={!shown || shown.result.rows.length === 0}
              title={shown ? "Save the rows below as CSV" : "Run the query first"}
              onClick={() => shown && save(`${project}.csv`, asCsv(shown.result), "text/csv")}
            >
              <Icon name="dl" />
              CSV
            </button>
          </div>
          {error.value && <Failure error={error.value} />}
          {!error.value && !shown && linked.current && (
            <Note icon="warn">
              This query came with the link. It can read everything that you can read. Check it before you run it.
            </Note>
          )}
          {!error.value && !shown && (
            <div class="card ph">
              <b>{running.value ? "Running" : "No query has run yet"}</b>
              <span>The rows and a chart appear here. Queries can only read; they cannot change anything.</span>
            </div>
          )}
          {shown?.result.truncated && (
            <Note kind="warn" icon="warn">
              These are the first {format.counted(shown.result.rows.length, "row")}; there are more. Add a LIMIT, or
              aggregate.
            </Note>
          )}
          {shown && (
            <div class="res">
              <section class="card">
                <header>
                  <h2>Result</h2>
                  <span class="dim">
                    {format.counted(shown.result.rows.length, "row")},{" "}
                    {format.counted(shown.result.columns.length, "column")}
                  </span>
                </header>
                {shown.result.rows.length > 0 ? (
                  <Grid result={shown.result} />
                ) : (
                  <div class="ph">
                    <b>No rows</b>
                    <span>The query ran and returned nothing.</span>
                  </div>
                )}
              </section>
              <ResultChart result={shown.result} />
            </div>
          )}
        </main>
      </div>
    </div>
  );
}

function reportOf({ query, result, at }: Answer, text: string): string {
  const edited = query === text ? "" : "Edited since this result. ";
  const rows = format.counted(result.rows.length, "row");
  return `${edited}${rows} in ${format.count(result.elapsed_ms)} ms, as of ${at.toLocaleTimeString("en-GB")}`;
}

function asCsv({ columns, rows }: Result): string {
  return csv([columns.map((column) => column.name), ...rows]);
}

interface NamesProps {
  relations: readonly Relation[];
  metrics: readonly { name: string; runs: number }[];
  onView: (name: string) => void;
}

/** The names that queries can use: views, their columns, and metrics. */
function Names({ relations, metrics, onView }: NamesProps) {
  const search = useSignal("");
  const wanted = search.value.trim().toLowerCase();
  const fits = (name: string): boolean => name.toLowerCase().includes(wanted);
  const views = relations.filter(({ name, columns }) => fits(name) || columns.some((column) => fits(column.name)));
  const found = metrics.filter(({ name }) => fits(name));
  return (
    <aside class="names" aria-label="Names">
      <div class="tools">
        <label class="field grow">
          <Icon name="search" />
          <input
            type="search"
            placeholder="Views, columns, metrics"
            aria-label="Search names"
            value={search.value}
            onInput={(event) => (search.value = event.currentTarget.value)}
          />
        </label>
      </div>
      <div class="scroll grow" tabIndex={0} role="region" aria-label="Views, columns and metrics">
        {views.map((relation) => (
          <details key={relation.name} open={wanted !== "" && relation.columns.some((column) => fits(column.name))}>
            <summary title={relation.about}>
              <span class="mono grow">{relation.name}</span>
              <button
                class="btn quiet mini"
                title={`A query that reads ${relation.name}`}
                aria-label={`Query ${relation.name}`}
                onClick={(event) => {
                  event.preventDefault();
                  onView(relation.name);
                }}
              >
                <Icon name="play" />
              </button>
            </summary>
            {relation.columns.map((column) => (
              <div key={column.name} class="c" title={column.about}>
                <span class="mono cut">{column.name}</span>
                <span class="dim">{column.type}</span>
              </div>
            ))}
          </details>
        ))}
        <h3>
          Metrics <span class="dim">{format.count(found.length)}</span>
        </h3>
        {found.slice(0, MOST_METRICS).map(({ name, runs }) => (
          <div key={name} class="c" title={`${name}, in ${format.counted(runs, "run")}`}>
            <span class="mono cut">{name}</span>
            <span class="dim">{runs}</span>
          </div>
        ))}
        {found.length > MOST_METRICS && <div class="c dim">{format.count(found.length - MOST_METRICS)} more</div>}
      </div>
    </aside>
  );
}
