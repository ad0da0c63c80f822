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
import { type Axis, metricOf } from "../model/view.ts";
import { change, view } from "../state.ts";
import { Icon } from "./icon.tsx";
import { slotOf } from "./marks.tsx";
import { Menu } from "./menu.tsx";
import { panelItems } from "./panel-menu.ts";
import { oddMarks, stateOf } from "./panel-state.ts";
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

  const { method, weight, log } = view.value;
  const axis = own ?? view.value.axis;
  // A metric as the axis of this chart alone: zoom and cursor are in other units than those of the others.
  const apart = own !== undefined && metricOf(own) !== null;
  const alone = useSignal<readonly [number, number] | null>(null);
  const zoom = apart ? alone.value : view.value.zoom;
  useEffect(() => {
    const width = host.current?.clientWidth || 400;
    const wanted = runs.map((run) => ({ id: run.id, startedAt: startedAt(run) }));
    data.show({ runs: wanted, axis, zoom, buckets: Math.max(50, Math.round((width - 54) / PER_BUCKET)) });
  }, [data, runs, axis, zoom, seen.value]);

  const drawn = useMemo(() => {
    const inputs: Input[] = runs.flatMap((run) => {
      const { overview, fine } = data.shownOf(run.id, axis);
      if (!overview) return [];
      return [
        {
          run: run.id,
          name: run.display_name,
          slot: slotOf(run),
          running: run.state === "running",
          startedAt: startedAt(run),
          writers: overview.writers,
          overview: overview.buckets,
          fine: zoom ? (fine?.buckets ?? null) : null,
        },
      ];
    });
    const lines = linesOf(inputs, { axis, method, weight, log });
    return { lines, origin: originOf(inputs), range: zoom ? ([...zoom] as [number, number]) : rangeOf(lines) };
  }, [version.value, runs, axis, method, weight, log, zoom]);
  const { lines, origin, range } = drawn;
  const state = stateOf(data, runs, lines, zoom, axis);
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
  }, [live, metric, apart]);
  useEffect(() => plot.current?.show(picture()), [drawn, smooth, log, marks]);
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
    if (!step || !line || full || !plot.current) return;
    event.preventDefault();
    const at = tip.value ? hits([line], tip.value.x, Infinity)[0]!.index : step > 0 ? -1 : line.xm.length;
    const index = Math.min(line.xm.length - 1, Math.max(0, at + step * (event.shiftKey ? 10 : 1)));
    const x = line.xm[index]!;
    if (!apart) project.cross.value = x;
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
          {apart && <span class="dim"> over {metricOf(axis)}</span>}
        </span>
        <span class="grow" />
        <span class="badge cut">{state.badge}</span>
        <span class="acts">
          <Menu
            label={`Save or copy ${metric}`}
            icon="more"
            items={() =>
              panelItems({
                ...{ metric, path: project.path, data, lines, axis, zoom, smooth },
                ...{ plot: plot.current, host: host.current },
              })
            }
          />
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
