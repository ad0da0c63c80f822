// One chart: title, badge, plot, tooltip, and all of its states. Draws nothing while invisible.

import { type Signal, useSignal, useSignalEffect } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { type Mark } from "../chart/paint.ts";
import { Plot } from "../chart/plot.ts";
import { heightOf, type Hit, hits, type Input, type Line, linesOf, originOf, rangeOf } from "../chart/series.ts";
import { theme } from "../chart/theme.ts";
import type { Run } from "../data/api.ts";
import { PanelData, type PanelSource } from "../data/panel.ts";
import { startedAt } from "../data/project.ts";
import { PALETTE } from "../model/colours.ts";
import type { Settings } from "../model/layout.ts";
import { METHOD_WORDS } from "../model/smoothing.ts";
import { AXIS_WORDS, metricOf } from "../model/view.ts";
import { change, view } from "../state.ts";
import { Icon } from "./icon.tsx";
import { slotOf } from "./marks.tsx";
import { type Item, Menu } from "./menu.tsx";
import { panelItems } from "./panel-menu.ts";
import { NOTHING, oddMarks, stateOf } from "./panel-state.ts";
import { type Shown, summaryOf, Tip } from "./tip.tsx";

/** CSS pixels per bucket: at two, the picture equals that of all points. */
const PER_BUCKET = 2;
const NEAR = "300px";

/** The shared context of a page's panels: the source of series, change events, and the cursor. */
export interface Surroundings {
  /** entity/project; null: SQL does not have these metrics as points. */
  path: string | null;
  charts: PanelSource;
  panels: Set<PanelData>;
  cross: Signal<number | null>;
}

/** A metric of a chart and the runs that have it. */
export interface Trace {
  metric: string;
  runs: readonly Run[];
}

interface Props {
  project: Surroundings;
  /** What full screen names it by. */
  id: string;
  title: string;
  traces: readonly Trace[];
  /** Other settings than those of the page. */
  settings?: Settings;
  full?: boolean;
  marks?: readonly Mark[];
  /** What an arranged panel has beside its chart. */
  frame?: Frame;
  /** Says more than the badge of a chart. */
  note?: string;
}

/** How a panel takes part in a layout. */
export interface Frame {
  class: string;
  items: () => readonly Item[];
  onKeyDown: (event: KeyboardEvent) => void;
  /** The pointer takes the panel by its title. */
  onGrab: (event: PointerEvent) => void;
  children: ComponentChildren;
}

const NO_MARKS: readonly Mark[] = [];
const NO_SETTINGS: Settings = {};

/** The same list as long as its parts are the same, so that nothing is drawn in vain. */
function useSame(traces: readonly Trace[]): readonly Trace[] {
  const kept = useRef(traces);
  const same =
    kept.current.length === traces.length &&
    kept.current.every(({ metric, runs }, i) => metric === traces[i]!.metric && runs === traces[i]!.runs);
  if (!same) kept.current = traces;
  return kept.current;
}

export function Panel({
  project,
  id,
  title,
  traces: given,
  settings = NO_SETTINGS,
  full = false,
  marks = NO_MARKS,
  frame,
  note = "",
}: Props) {
  const figure = useRef<HTMLElement>(null);
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<Plot | null>(null);
  const seen = useSignal(false);
  const version = useSignal(0);
  const tip = useSignal<Shown | null>(null);
  const traces = useSame(given);
  const names = traces.map(({ metric }) => metric).join("\n");
  const data = useMemo(
    () =>
      new Map(traces.map(({ metric }) => [metric, new PanelData(metric, project.charts, () => (version.value += 1))])),
    [names, project],
  );

  useEffect(() => {
    for (const one of data.values()) project.panels.add(one);
    const observer = new IntersectionObserver(
      ([entry]) => {
        seen.value = entry!.isIntersecting;
        for (const one of data.values()) one.seen(seen.value);
      },
      { rootMargin: NEAR },
    );
    observer.observe(figure.current!);
    return () => {
      observer.disconnect();
      for (const one of data.values()) {
        project.panels.delete(one);
        one.close();
      }
    };
  }, [data]);

  const page = view.value;
  const { method, weight, log, axis, low, high } = { ...page, ...settings };
  // An axis of this chart alone: zoom and cursor are in other units than those of the others.
  const apart = axis !== page.axis;
  const alone = useSignal<readonly [number, number] | null>(null);
  const zoom = apart ? alone.value : page.zoom;
  const wide = frame?.class ?? "";
  useEffect(() => {
    const width = host.current?.clientWidth || 400;
    const buckets = Math.max(50, Math.round((width - 54) / PER_BUCKET));
    for (const { metric, runs } of traces) {
      const wanted = runs.map((run) => ({ id: run.id, startedAt: startedAt(run) }));
      data.get(metric)!.show({ runs: wanted, axis, zoom, buckets });
    }
  }, [data, traces, axis, zoom, seen.value, wide]);

  const drawn = useMemo(() => {
    const several = traces.length > 1;
    const alike = new Set(traces.flatMap(({ runs }) => runs.map((run) => run.id))).size <= 1;
    const inputs: Input[] = traces.flatMap(({ metric, runs }, number) =>
      runs.flatMap((run) => {
        const { overview, fine } = data.get(metric)!.shownOf(run.id, axis);
        if (!overview) return [];
        // Metrics of one run have colours; those of several runs have the run's colour, and strokes of their own.
        const slot = alike ? number : (slotOf(run) % PALETTE) + PALETTE * number;
        const name = alike ? metric : `${run.display_name}, ${metric}`;
        return [
          {
            id: several ? `${run.id}\n${metric}` : run.id,
            run: run.id,
            metric,
            name: several ? name : run.display_name,
            slot: several ? slot : slotOf(run),
            running: run.state === "running",
            startedAt: startedAt(run),
            writers: overview.writers,
            overview: overview.buckets,
            fine: zoom ? (fine?.buckets ?? null) : null,
          },
        ];
      }),
    );
    const lines = linesOf(inputs, { axis, method, weight, log });
    return { lines, origin: originOf(inputs), range: zoom ? ([...zoom] as [number, number]) : rangeOf(lines) };
  }, [version.value, traces, axis, method, weight, log, zoom]);
  const { lines, origin, range } = drawn;
  const sets = traces.map(({ metric, runs }) => ({ data: data.get(metric)!, runs }));
  const state = traces.length > 0 ? stateOf(sets, lines, zoom, axis) : NOTHING;
  const smooth = method !== "none" && weight > 0;
  const picture = () => {
    let [from, to] = range ?? [0, 1];
    if (from === to) [from, to] = [from - 1, to + 1];
    return {
      lines,
      smooth,
      hovered: tip.value && tip.value.hits.length > 1 ? tip.value.nearest : null,
      marks: [...(apart ? [] : marks), ...oddMarks(lines)],
      axis,
      log,
      x: [from, to] as [number, number],
      y: heightOf(lines, from, to, log, low, high),
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
        if (!apart) project.cross.value = x;
        tip.value = x === null ? null : shownAt(latest.current().lines, made, x, top, element);
        made.show(latest.current());
      },
      zoom: (wanted) => (apart ? void (alone.value = wanted) : change({ zoom: wanted })),
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
  }, [live, id, apart]);
  useEffect(() => plot.current?.show(picture()), [drawn, smooth, log, marks, low, high]);
  useSignalEffect(() => {
    const colours = theme.value;
    if (colours) plot.current?.retheme(colours);
  });
  useSignalEffect(() => {
    const x = project.cross.value;
    if (!tip.peek() && !apart) plot.current?.cross(x);
  });

  const onKey = (event: KeyboardEvent): void => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const line = lines[0];
    if (!step || !line || full || !plot.current || event.ctrlKey || event.altKey) return;
    event.preventDefault();
    const at = tip.value ? hits([line], tip.value.x, Infinity)[0]!.index : step > 0 ? -1 : line.xm.length;
    const index = Math.min(line.xm.length - 1, Math.max(0, at + step * (event.shiftKey ? 10 : 1)));
    const x = line.xm[index]!;
    if (!apart) project.cross.value = x;
    const [, top] = plot.current.at(x, line.smoothed[index]!);
    tip.value = shownAt(lines, plot.current, x, top, host.current!);
    plot.current.cross(x);
  };

  const slash = traces.length === 1 && title === traces[0]!.metric ? title.lastIndexOf("/") + 1 : 0;
  const smoothing = smooth ? `${METHOD_WORDS[method]}, ${weight.toFixed(2)}` : "";
  const over = settings.axis === undefined ? null : (metricOf(axis) ?? AXIS_WORDS[axis as "step"].toLowerCase());
  return (
    <figure
      class={`panel${full ? " full" : ""}${frame ? ` ${frame.class}` : ""}`}
      ref={figure}
      onKeyDown={frame?.onKeyDown}
      data-metric={id}
      data-panel={frame ? id : undefined}
      data-state={state.kind}
      data-points={state.points}
    >
      <figcaption onPointerDown={frame?.onGrab}>
        <span class="pt cut" title={title}>
          <span class="dim">{title.slice(0, slash)}</span>
          {title.slice(slash)}
          {apart && over && <span class="dim"> over {over}</span>}
        </span>
        <span class="grow" />
        <span class="badge cut">{[note, state.badge].filter(Boolean).join(", ")}</span>
        <span class="acts">
          <Menu
            label={`${frame ? "Arrange, save" : "Save"} or copy ${title}`}
            icon="more"
            items={() => [
              ...(frame?.items() ?? []),
              ...panelItems({
                ...{ title, path: project.path, data, lines, axis, zoom, smoothing },
                ...{ plot: plot.current, host: host.current },
              }),
            ]}
          />
          <button
            class="btn quiet mini"
            aria-label={full ? "Close full screen" : `${title} in full screen`}
            onClick={() => change({ full: full ? "" : id })}
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
          aria-label={summaryOf(title, lines, axis)}
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
              <button class="btn" onClick={() => data.forEach((one) => one.retry())}>
                Try again
              </button>
            </span>
          )}
        </div>
      )}
      {tip.value && <Tip shown={tip.value} axis={axis} origin={origin} smooth={smooth} />}
      {frame?.children}
    </figure>
  );
}

function shownAt(lines: readonly Line[], plot: Plot, x: number, top: number, element: HTMLElement): Shown {
  const found = hits(lines, x, 24 * plot.perPixel());
  let nearest = "";
  let least = Infinity;
  const dots = found.map((hit: Hit) => {
    const [left, at] = plot.at(hit.x, hit.y);
    const distance = Math.abs(at - (top + 6));
    if (distance < least) [least, nearest] = [distance, hit.line.id];
    return { id: hit.line.id, slot: hit.line.slot, left, top: at };
  });
  const [left] = plot.at(x, 1);
  return { x, hits: found, nearest, dots, left, width: element.clientWidth };
}
