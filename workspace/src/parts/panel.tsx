// One chart: title, badge, plot, tooltip, and all of its states. Draws nothing while invisible.

import { type Signal, useSignal, useSignalEffect } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { type Mark } from "../chart/paint.ts";
import { Plot } from "../chart/plot.ts";
import { heightOf, type Hit, hits, type Input, type Line, linesOf, originOf, rangeOf } from "../chart/series.ts";
import { theme } from "../chart/theme.ts";
import type { Run } from "../data/api.ts";
import { PanelData, type PanelSource } from "../data/panel.ts";
import { startedAt } from "../data/project.ts";
import { fidelity, lowerBound, totals } from "../model/buckets.ts";
import * as format from "../model/format.ts";
import type { Axis } from "../model/view.ts";
import { change, view } from "../state.ts";
import { Icon } from "./icon.tsx";
import { slotOf } from "./marks.tsx";
import { type Shown, summaryOf, Tip } from "./tip.tsx";

/** CSS pixels per bucket: at two, the picture equals that of all points. */
const PER_BUCKET = 2;
const NEAR = "300px";

/** The shared context of a page's panels: the source of series, change events, and the cursor. */
export interface Surroundings {
  charts: PanelSource;
  panels: Set<PanelData>;
  cross: Signal<number | null>;
}

interface Props {
  project: Surroundings;
  metric: string;
  runs: readonly Run[];
  /** An axis other than that of the page. */
  axis?: Axis;
  full?: boolean;
  marks?: readonly Mark[];
}

const NO_MARKS: readonly Mark[] = [];

export function Panel({ project, metric, runs, axis: own, full = false, marks = NO_MARKS }: Props) {
  const figure = useRef<HTMLElement>(null);
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<Plot | null>(null);
  const seen = useSignal(false);
  const version = useSignal(0);
  const tip = useSignal<Shown | null>(null);
  const data = useMemo(() => new PanelData(metric, project.charts, () => (version.value += 1)), [metric, project]);

  useEffect(() => {
    project.panels.add(data);
    const observer = new IntersectionObserver(
      ([entry]) => {
        seen.value = entry!.isIntersecting;
        data.seen(seen.value);
      },
      { rootMargin: NEAR },
    );
    observer.observe(figure.current!);
    return () => {
      observer.disconnect();
      project.panels.delete(data);
      data.close();
    };
  }, [data]);

  const { method, weight, log, zoom } = view.value;
  const axis = own ?? view.value.axis;
  useEffect(() => {
    const width = host.current?.clientWidth || 400;
    const wanted = runs.map((run) => ({ id: run.id, startedAt: startedAt(run) }));
    data.show({ runs: wanted, axis, zoom, buckets: Math.max(50, Math.round((width - 54) / PER_BUCKET)) });
  }, [data, runs, axis, zoom, seen.value]);

  const drawn = useMemo(() => {
    const inputs: Input[] = runs.flatMap((run) => {
      const entry = data.entries.get(run.id);
      if (!entry?.overview) return [];
      return [
        {
          run: run.id,
          name: run.display_name,
          slot: slotOf(run),
          running: run.state === "running",
          startedAt: startedAt(run),
          writers: entry.overview.writers,
          overview: entry.overview.buckets,
          fine: zoom ? (entry.fine?.buckets ?? null) : null,
        },
      ];
    });
    const lines = linesOf(inputs, { axis, method, weight, log });
    return { lines, origin: originOf(inputs), range: zoom ? ([...zoom] as [number, number]) : rangeOf(lines) };
  }, [version.value, runs, axis, method, weight, log, zoom]);
  const { lines, origin, range } = drawn;
  const state = stateOf(data, runs, lines, zoom);
  const smooth = method !== "none" && weight > 0;
  const picture = () => {
    let [from, to] = range ?? [0, 1];
    if (from === to) [from, to] = [from - 1, to + 1];
    return {
      lines,
      smooth,
      hovered: tip.value && tip.value.hits.length > 1 ? tip.value.nearest : null,
      marks: [...marks, ...oddMarks(lines)],
      axis,
      log,
      x: [from, to] as [number, number],
      y: heightOf(lines, from, to, log),
      origin,
    };
  };
  const latest = useRef(picture);
  latest.current = picture;

  // The plot lives only while it is near the window: a hundred canvases would take 150 MB.
  const live = seen.value && state.kind === "drawn";
  useEffect(() => {
    const [element, colours] = [host.current, theme.value];
    if (!live || !element || !colours) return undefined;
    const made = new Plot(element, colours, {
      hover(x, top) {
        project.cross.value = x;
        tip.value = x === null ? null : shownAt(latest.current().lines, made, x, top, element);
        made.show(latest.current());
      },
      zoom: (wanted) => change({ zoom: wanted }),
    });
    plot.current = made;
    made.show(latest.current());
    const observer = new ResizeObserver(() => made.show(latest.current()));
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = null;
      tip.value = null;
    };
  }, [live, metric]);
  useEffect(() => plot.current?.show(picture()), [drawn, smooth, log, marks]);
  useSignalEffect(() => {
    const colours = theme.value;
    if (colours) plot.current?.retheme(colours);
  });
  useSignalEffect(() => {
    const x = project.cross.value;
    if (!tip.peek()) plot.current?.cross(x);
  });

  const onKey = (event: KeyboardEvent): void => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const line = lines[0];
    if (!step || !line || full || !plot.current) return;
    event.preventDefault();
    const at = tip.value ? hits([line], tip.value.x, Infinity)[0]!.index : step > 0 ? -1 : line.xm.length;
    const index = Math.min(line.xm.length - 1, Math.max(0, at + step * (event.shiftKey ? 10 : 1)));
    const x = line.xm[index]!;
    project.cross.value = x;
    const [, top] = plot.current.at(x, line.smoothed[index]!);
    tip.value = shownAt(lines, plot.current, x, top, host.current!);
    plot.current.cross(x);
  };

  const slash = metric.lastIndexOf("/") + 1;
  return (
    <figure
      class={`panel${full ? " full" : ""}`}
      ref={figure}
      data-metric={metric}
      data-state={state.kind}
      data-points={state.points}
    >
      <figcaption>
        <span class="pt cut" title={metric}>
          <span class="dim">{metric.slice(0, slash)}</span>
          {metric.slice(slash)}
        </span>
        <span class="grow" />
        <span class="badge cut">{state.badge}</span>
        <span class="acts">
          <button
            class="btn quiet mini"
            aria-label={full ? "Close full screen" : `${metric} in full screen`}
            onClick={() => change({ full: full ? "" : metric })}
          >
            <Icon name={full ? "x" : "full"} />
          </button>
        </span>
      </figcaption>
      {state.kind === "drawn" ? (
        <div
          class="plot"
          ref={host}
          role="img"
          tabIndex={0}
          aria-label={summaryOf(metric, lines, axis)}
          onKeyDown={onKey}
          onBlur={() => {
            tip.value = null;
            project.cross.value = null;
          }}
        />
      ) : state.kind === "loading" ? (
        <div class="sk">
          <div />
        </div>
      ) : (
        <div class="ph">
          <b>{state.title}</b>
          <span>{state.why}</span>
          {state.kind === "failed" && (
            <span class="row">
              <button class="btn" onClick={() => data.retry()}>
                Try again
              </button>
            </span>
          )}
        </div>
      )}
      {tip.value && <Tip shown={tip.value} axis={axis} origin={origin} smooth={smooth} />}
    </figure>
  );
}

interface PanelState {
  kind: "loading" | "drawn" | "empty" | "nan" | "failed";
  badge: string;
  points: number;
  title?: string;
  why?: string;
}

function stateOf(
  data: PanelData,
  runs: readonly Run[],
  lines: readonly Line[],
  zoom: readonly [number, number] | null,
): PanelState {
  const entries = runs.map((run) => data.entries.get(run.id));
  const failed = entries.find((entry) => entry?.error)?.error;
  const waiting = entries.some((entry) => !entry || (!entry.overview && !entry.error));
  let [points, odd, buckets] = [0, 0, 0];
  for (const line of lines) {
    const [from, to] = zoom ? [lowerBound(line.x1, zoom[0]), lowerBound(line.x0, zoom[1])] : [0, line.x0.length];
    const sum = totals(line.buckets, from, to);
    points += sum.points;
    odd += sum.odd;
    buckets += sum.buckets;
  }
  if (points === 0 && waiting) return { kind: "loading", badge: "", points };
  if (points === 0 && failed)
    return { kind: "failed", badge: "", points, title: failed.message, why: failed.hint || failed.detail };
  if (points === 0 && lines.length > 0) return { kind: "drawn", badge: "no points in this range", points };
  if (points === 0)
    return {
      kind: "empty",
      badge: "no points",
      points,
      title: "No points yet",
      why: "None of the drawn runs has stored one.",
    };
  const badge = fidelity(buckets, points, format.count);
  if (odd === points)
    return {
      kind: "nan",
      badge,
      points,
      title: "No value is finite",
      why: `${format.count(odd)} of ${format.count(points)} are NaN or infinite.`,
    };
  return { kind: "drawn", badge: failed ? "some runs could not be read" : badge, points };
}

function oddMarks(lines: readonly Line[]): Mark[] {
  return lines.flatMap(({ buckets, x0 }) =>
    Array.from(buckets.odd).flatMap((odd, i): Mark[] => (odd > 0 ? [{ kind: "nan", x: x0[i]! }] : [])),
  );
}

function shownAt(lines: readonly Line[], plot: Plot, x: number, top: number, element: HTMLElement): Shown {
  const found = hits(lines, x, 24 * plot.perPixel());
  let nearest = "";
  let least = Infinity;
  const dots = found.map((hit: Hit) => {
    const [left, at] = plot.at(hit.x, hit.y);
    const distance = Math.abs(at - (top + 6));
    if (distance < least) [least, nearest] = [distance, hit.line.run];
    return { run: hit.line.run, slot: hit.line.slot, left, top: at };
  });
  const [left] = plot.at(x, 1);
  return { x, hits: found, nearest, dots, left, width: element.clientWidth };
}
