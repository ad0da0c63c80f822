// System metrics of a run: the same charts, over time, with a line for each writer.

import { useEffect, useMemo } from "preact/hooks";
import { get, type Run } from "../../data/api.ts";
import type { Wanted, Series } from "../../data/charts.ts";
import type { PanelData, PanelSource } from "../../data/panel.ts";
import { startedAt } from "../../data/project.ts";
import { counted } from "../../model/format.ts";
import { search, sections } from "../../model/sections.ts";
import { isTimed } from "../../model/view.ts";
import { Panel, type Surroundings } from "../../parts/panel.tsx";
import { Toolbar } from "../../parts/toolbar.tsx";
import { view } from "../../state.ts";
import { signal, useSignal } from "@preact/signals";
import type { TabProps } from "../run.tsx";

const SAMPLES = 4000;
const NEWS_MS = 15_000;

type Row = Record<string, number | string> & { _writer: string; _timestamp: number };

/** Measurements as series: answers the requests of `PanelData` from loaded rows. */
class Measured implements PanelSource, Surroundings {
  readonly panels = new Set<PanelData>();
  readonly cross = signal<number | null>(null);
  readonly charts = this;
  readonly path = null;
  #rows: Row[] = [];

  take(rows: Row[]): void {
    this.#rows = rows;
    for (const writer of this.writers()) for (const panel of this.panels) panel.moved(writer, true);
  }

  writers(): string[] {
    return [...new Set(this.#rows.map((row) => row._writer))];
  }

  names(): string[] {
    return [...new Set(this.#rows.flatMap((row) => Object.keys(row)))].filter((name) => !name.startsWith("_"));
  }

  having(name: string): string[] {
    return this.writers().filter((writer) => this.#rows.some((row) => row._writer === writer && name in row));
  }

  want(wanted: Wanted): Promise<Series> {
    const rows = this.#rows.filter((row) => row._writer === wanted.run && typeof row[wanted.key] === "number");
    const values = Float64Array.from(rows, (row) => row[wanted.key] as number);
    const steps = Float64Array.from(rows, (_, i) => i);
    const time = Float64Array.from(rows, (row) => row._timestamp);
    const ones = new Float64Array(rows.length).fill(1);
    const zeros = new Float64Array(rows.length);
    return Promise.resolve({
      points: rows.length,
      writers: [wanted.run],
      buckets: {
        ...{ origin: 0n, width: 1, start: steps, firstStep: steps, lastStep: steps, count: ones, odd: zeros },
        ...{ min: values, max: values, mean: values, first: values, last: values },
        ...{ minWriter: null, maxWriter: null, time, along: null },
      },
    });
  }
}

export function System({ run, address }: TabProps) {
  const measured = useMemo(() => new Measured(), [address]);
  const version = useSignal(0);
  const sampled = useSignal("");
  const read = useSignal(false);
  useEffect(() => {
    const abort = new AbortController();
    const look = (): void => {
      get<{ rows: Row[]; sampled: { from_rows: number; rows: number } | null }>(
        `${address}/system`,
        { samples: SAMPLES },
        abort.signal,
      ).then(
        (found) => {
          measured.take(found.rows);
          sampled.value = found.sampled ? `${found.sampled.rows} of ${found.sampled.from_rows} measurements` : "";
          read.value = true;
          version.value += 1;
        },
        () => undefined, // retried soon; the page reports an unreachable server
      );
    };
    look();
    const timer = run.state === "running" ? setInterval(() => !document.hidden && look(), NEWS_MS) : 0;
    return () => {
      abort.abort();
      clearInterval(timer);
    };
  }, [address, run.state]);
  const { q, cut, axis } = view.value;
  const names = search(measured.names(), q);
  const writers = useMemo(() => measured.writers(), [version.value]);
  const runs = useMemo(
    () =>
      new Map(
        writers.map((writer, slot): [string, Run] => [
          writer,
          { ...run, id: writer, display_name: `writer ${writer}`, slot, metadata: { started_at: startedAt(run) } },
        ]),
      ),
    [writers, run.state],
  );
  return (
    <main class="charts">
      <Toolbar />
      {sampled.value && <p class="dim">{sampled.value}</p>}
      {read.value && measured.names().length === 0 && (
        <div class="empty">
          <h1>Nothing was measured</h1>
          <p>CPU, memory and GPUs of a run are measured every 15 s while it logs.</p>
        </div>
      )}
      {sections(names, cut).map((section) => (
        <section key={section.name} class="sec">
          <header>
            <h2>{section.name}</h2>
            <span>{counted(section.metrics.length, "metric")}</span>
          </header>
          <div class="grid">
            {section.metrics.map((name) => (
              <Panel
                key={name}
                project={measured}
                id={name}
                title={name}
                traces={[{ metric: name, runs: measured.having(name).map((writer) => runs.get(writer)!) }]}
                settings={{ axis: isTimed(axis) ? axis : "relative" }}
              />
            ))}
          </div>
        </section>
      ))}
    </main>
  );
}
