// The shared data of a project's pages: its runs, the drawn ones, their metrics, and their changes.

import { computed, effect, type ReadonlySignal, signal } from "@preact/signals";
import { compile, sent } from "../model/filter.ts";
import { view } from "../state.ts";
import { type ApiError, get, isAbort, type MetricNames, type Run, runRoute, told } from "./api.ts";
import { AlongSource } from "./along.ts";
import { Charts } from "./charts.ts";
import { ProjectLayout } from "./layout.ts";
import { Live, type News } from "./live.ts";
import type { PanelData, PanelSource } from "./panel.ts";
import { RunList } from "./runs.ts";

/** How many of the newest runs are drawn by default. */
const USUAL = 10;
/** The most runs drawn: the server follows 100 runs on a connection. */
export const MOST = 100;
const METRICS_MS = 5000;

export class Project {
  readonly path: string;
  readonly list = new RunList();
  readonly charts: PanelSource;
  readonly live: Live;
  readonly layout: ProjectLayout;
  readonly panels = new Set<PanelData>();
  readonly metrics = signal<MetricNames | null>(null);
  readonly error = signal<ApiError | null>(null);
  /** Runs of the link that do not exist. */
  readonly gone = signal<readonly string[]>([]);
  /** The position of the cursor in any chart, in units of the axis. */
  readonly cross = signal<number | null>(null);
  readonly drawn: ReadonlySignal<readonly Run[]>;
  /** The default columns of metrics of the table of runs; they stay once they are known. */
  readonly usual = signal<readonly string[]>([]);
  readonly filterError = computed(() => compile(view.value.filter, this.#isConfig).error);

  #table: boolean;
  #entity: string;
  #project: string;
  #others = signal<ReadonlyMap<string, Run>>(new Map());
  #asked = new Set<string>();
  #abort = new AbortController();
  #metricsOf = "";
  #timer = 0;
  #stops: (() => void)[] = [];

  /**
   * @param one the page of a single run draws that one
   * @param table whether the values of columns are shown, which take the server longer than all else of a list
   */
  constructor(entity: string, project: string, one: string | null = null, table = false) {
    this.#table = table;
    this.path = `${entity}/${project}`;
    this.#entity = entity;
    this.#project = project;
    this.charts = new AlongSource(new Charts(this.path));
    this.layout = new ProjectLayout(this.path);
    this.live = new Live((news) => this.#take(news));
    const wanted = computed(() => (one === null ? view.value.runs : [one])?.slice(0, MOST) ?? null);
    this.drawn = computed(() => {
      const list = this.list.runs.value;
      const ids = wanted.value;
      if (ids === null) return list.slice(0, USUAL);
      const known = new Map(list.map((run) => [run.id, run]));
      const found = ids.map((id) => known.get(id) ?? this.#others.value.get(id));
      return found.filter((run) => run !== undefined);
    });
    if (one === null) this.#stops.push(effect(() => this.#want()));
    this.#stops.push(
      effect(() => {
        for (const id of wanted.value ?? []) this.#find(id);
      }),
      effect(() => this.#readMetrics(this.drawn.value)),
      effect(() => {
        const running = this.drawn.value.filter((run) => run.state === "running").map((run) => run.id);
        this.live.follow(this.path, running);
      }),
    );
  }

  close(): void {
    this.#stops.forEach((stop) => stop());
    this.#abort.abort();
    clearTimeout(this.#timer);
    this.live.close();
    this.layout.close();
    this.list.close();
  }

  /** Repeats failed reads. */
  retry(): void {
    this.error.value = null;
    this.#asked.clear();
    this.#metricsOf = "";
    if (this.list.error.value) void this.list.reload();
    this.#readMetrics(this.drawn.value);
    for (const panel of this.panels) panel.retry();
  }

  /** A run is as the reader has just made it. */
  changed(run: Run): void {
    this.#others.value = new Map([...this.#others.value, [run.id, run]]);
    this.list.replace(run);
  }

  #isConfig = (key: string): boolean => this.list.runs.peek().some((run) => has(run.config, key));

  #want(): void {
    const { filter, order, columns, archived } = view.value;
    const { filters, error } = compile(filter, this.#isConfig);
    if (error) return; // the typed filter is incomplete; the list stays
    const keys = [
      ...(this.#table ? (columns ?? this.usual.value) : []),
      ...(order.slice(1).startsWith("summary_metrics.") ? [sorted(order)] : []),
    ];
    const summary = keys.filter((name) => name.startsWith("summary.")).map((name) => name.slice("summary.".length));
    this.list.want({
      path: this.path,
      filters: sent(filters, archived),
      order,
      summary: [...new Set(summary)],
    });
  }

  // A run of the link may be outside of the loaded window of the list.
  #find(id: string): void {
    if (this.#asked.has(id) || this.list.runs.peek().some((run) => run.id === id)) return;
    this.#asked.add(id);
    get<Run>(runRoute(this.#entity, this.#project, id), {}, this.#abort.signal).then(
      (run) => (this.#others.value = new Map([...this.#others.value, [id, run]])),
      (error: unknown) => {
        if (isAbort(error)) return;
        const shown = told(error);
        if (shown.status === 404) this.gone.value = [...new Set([...this.gone.value, id])];
        else this.error.value = shown;
      },
    );
  }

  #readMetrics(drawn: readonly Run[], again = false): void {
    const ids = drawn.map((run) => run.id);
    const text = JSON.stringify(ids.toSorted());
    if (ids.length === 0 || (text === this.#metricsOf && !again)) return;
    this.#metricsOf = text;
    get<MetricNames>("/v1/metrics", { path: this.path, runs: ids }, this.#abort.signal).then(
      (found) => {
        if (this.#metricsOf !== text) return;
        if (JSON.stringify(found) !== JSON.stringify(this.metrics.value)) this.metrics.value = found;
        if (this.usual.value.length === 0) this.usual.value = usualColumns(found);
      },
      (error: unknown) => {
        if (!isAbort(error)) this.error.value = told(error);
      },
    );
  }

  #take(news: News): void {
    const run = this.drawn.value.find((item) => item.id === news.run);
    if (run && news.state && news.state !== run.state) this.#again(run.id);
    if (news.kind === "start") {
      // After a reconnect, the changes in between are unknown.
      for (const panel of this.panels) panel.moved(news.run, false);
      return;
    }
    const cut = news.kind === "reset" || news.cuts.length > 0;
    if (cut || news.moved.length > 0) for (const panel of this.panels) panel.moved(news.run, cut);
    if (news.moved.length > 0 || news.said["meta"] || news.said["config"]) this.#again(news.run);
    this.#soon();
  }

  // The row of a run that has moved, at most every few seconds.
  #again(id: string): void {
    if (this.#later.has(id)) return;
    this.#later.add(id);
    setTimeout(() => {
      this.#later.delete(id);
      get<Run>(runRoute(this.#entity, this.#project, id), {}, this.#abort.signal).then(
        (run) => this.changed(run),
        () => undefined, // the next event tries again
      );
    }, 1000);
  }
  #later = new Set<string>();

  // There may be new metrics.
  #soon(): void {
    if (this.#timer !== 0) return;
    this.#timer = window.setTimeout(() => {
      this.#timer = 0;
      this.#readMetrics(this.drawn.value, true);
    }, METRICS_MS);
  }
}

// The most wanted metrics: losses and accuracies, those of evaluations before those of training.
function usualColumns({ metrics }: MetricNames): string[] {
  const names = metrics.filter((metric) => !metric.hidden).map((metric) => metric.name);
  const telling = names.filter((name) => /loss|acc/iu.test(name));
  return (telling.length > 0 ? telling : names).slice(0, 3).map((name) => `summary.${name}`);
}

const sorted = (order: string): string => order.slice(1).replace(/^summary_metrics\./u, "summary.");

/** Whether a config has a key, as a whole or as a dot path. */
export function has(config: Run["config"], key: string): boolean {
  return Object.hasOwn(config, key) || at(config, key) !== undefined;
}

/** The value of a key or a dot path of a config; undefined: it is missing. */
export function at(config: Run["config"], key: string): unknown {
  if (Object.hasOwn(config, key)) return unwrapped(config[key]);
  let here: unknown = config;
  for (const part of key.split(".")) {
    if (typeof here !== "object" || here === null || !Object.hasOwn(here, part)) return undefined;
    here = (here as Record<string, unknown>)[part];
  }
  return unwrapped(here);
}

// W&B's configs have every value under "value".
function unwrapped(value: unknown): unknown {
  const keys = typeof value === "object" && value !== null ? Object.keys(value) : [];
  return keys.length === 1 && keys[0] === "value" ? (value as { value: unknown }).value : value;
}

/** The time at which a run started to log, in Unix seconds. */
export function startedAt(run: Run): number {
  const said = run.metadata["started_at"];
  return typeof said === "number" ? said : Date.parse(run.created_at) / 1000;
}
