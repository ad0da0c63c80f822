// A chart of two columns of a result: the cursor, and which columns are drawn.

import { useSignal, useSignalEffect } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { Plot } from "../chart/plot.ts";
import { heightOf, type Hit, hits, type Line, lineThrough, rangeOf } from "../chart/series.ts";
import { theme } from "../chart/theme.ts";
import * as format from "../model/format.ts";
import { type Choice, choose, isNumber, isTime, type Result, traces } from "../model/result.ts";
import { change, view } from "../state.ts";
import { Swatch } from "./marks.tsx";

const MOST_LINES = 40;
const NONE = "(none)";

export function ResultChart({ result }: { result: Result }) {
  const wanted = view.value.chart;
  const choice = useMemo(() => choose(result, wanted), [result, wanted]);
  if (!choice)
    return (
      <section class="card result-chart" aria-label="Chart">
        <header>
          <h2>Chart</h2>
        </header>
        <div class="ph">
          <b>Nothing to draw</b>
          <span>A chart needs two columns: x, a number or a time, and y, a number.</span>
        </div>
      </section>
    );
  return <Drawn result={result} choice={choice} log={view.value.log} />;
}

function Drawn({ result, choice, log }: { result: Result; choice: Choice; log: boolean }) {
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<Plot | null>(null);
  const tip = useSignal<Tip | null>(null);
  const zoom = useSignal<[number, number] | null>(null);
  const { columns } = result;
  const all = useMemo(() => traces(result, choice), [result, choice]);
  const lines = useMemo(
    () => all.slice(0, MOST_LINES).map((trace, slot) => lineThrough(trace.name, slot, trace.x, trace.y)),
    [all],
  );
  const timed = isTime(columns[choice.x]);
  useEffect(() => void (zoom.value = null), [lines]);

  const picture = () => {
    const [from, to] = zoom.value ?? rangeOf(lines) ?? [0, 1];
    const room = from === to ? (Math.abs(from) || 1) * 0.05 : 0;
    return {
      ...({ lines, smooth: false, hovered: null, marks: [], log, origin: 0n, axis: timed ? "time" : "step" } as const),
      x: [from - room, to + room] as [number, number],
      y: heightOf(lines, from, to, log),
    };
  };
  const latest = useRef(picture);
  latest.current = picture;
  useEffect(() => {
    const [element, colours] = [host.current, theme.value];
    if (!element || !colours) return undefined;
    const made = new Plot(element, colours, {
      hover: (x, top) => {
        const { lines: drawn } = latest.current();
        tip.value = x === null ? null : tipAt(drawn, made, x, top, element.clientWidth);
      },
      zoom: (range) => (zoom.value = range),
    });
    plot.current = made;
    const observer = new ResizeObserver(() => made.show(latest.current()));
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, []);
  useEffect(() => plot.current?.show(picture()), [lines, log, zoom.value]);
  useSignalEffect(() => {
    const colours = theme.value;
    if (colours) plot.current?.retheme(colours);
  });

  const at = (x: number): string => `${name(choice.x)} ${timed ? format.when(x * 1000) : format.value(x)}`;
  const name = (i: number | null): string => (i === null ? NONE : columns[i]!.name);
  const pick = (patch: Partial<Record<"x" | "y" | "by", string>>): void => {
    const now = { x: name(choice.x), y: name(choice.y), by: name(choice.by), ...patch };
    change({ chart: now.by === NONE ? [now.x, now.y] : [now.x, now.y, now.by] });
  };
  const xs = columns.filter((column) => isNumber(column) || isTime(column)).map((column) => column.name);
  const ys = columns.filter(isNumber).map((column) => column.name);
  const bys = [NONE, ...columns.map((column) => column.name)];
  return (
    <section class="card result-chart" aria-label="Chart">
      <header>
        <h2>Chart</h2>
        <Pick word="x" value={name(choice.x)} of={xs} onPick={(x) => pick({ x })} />
        <Pick word="y" value={name(choice.y)} of={ys} onPick={(y) => pick({ y })} />
        <Pick word="by" value={name(choice.by)} of={bys} onPick={(by) => pick({ by })} />
        <button class="btn" aria-pressed={log} onClick={() => change({ log: !log })}>
          Log y
        </button>
        <span class="grow" />
        {all.length > lines.length && (
          <span class="dim">
            {lines.length} of {format.counted(all.length, "line")}
          </span>
        )}
      </header>
      <div
        class="plot"
        ref={host}
        role="img"
        aria-label={`${name(choice.y)} over ${name(choice.x)}, ${format.counted(all.length, "line")}`}
      />
      {choice.by !== null && (
        <ul class="legend">
          {lines.slice(0, 12).map((line) => (
            <li key={line.name} class="row">
              <Swatch slot={line.slot} />
              <span class="cut" title={line.name}>
                {line.name}
              </span>
            </li>
          ))}
          {all.length > 12 && <li class="dim">+ {all.length - 12} more</li>}
        </ul>
      )}
      {tip.value && <Values tip={tip.value} place={at(tip.value.near.x)} />}
    </section>
  );
}

interface Tip {
  hits: readonly Hit[];
  /** The one nearest to the cursor. */
  near: Hit;
  /** Where the cursor is in the plot, and how wide that is, in CSS pixels. */
  left: number;
  width: number;
}

function tipAt(lines: readonly Line[], plot: Plot, x: number, top: number, width: number): Tip | null {
  const found = hits(lines, x, 24 * plot.perPixel());
  const distance = (hit: Hit): number => Math.abs(plot.at(hit.x, hit.y)[1] - (top + 6));
  const near = found.toSorted((a, b) => distance(a) - distance(b))[0];
  return near ? { hits: found, near, left: plot.at(x, 1)[0], width } : null;
}

/** The row nearest to the cursor on each line. */
function Values({ tip: { hits: found, near, left, width }, place }: { tip: Tip; place: string }) {
  const side = left > width / 2 ? { right: `${Math.max(8, width - left + 14)}px` } : { left: `${left + 14}px` };
  return (
    <div class="pop tip" style={side} role="status">
      <div class="h">
        <b>{place}</b>
      </div>
      {found.slice(0, 12).map((hit) => (
        <div key={hit.line.run} class={`r${hit === near ? " on" : ""}`}>
          <Swatch slot={hit.line.slot} />
          <span class="cut">{hit.line.name}</span>
          <span class="num" title={format.exact(hit.y)}>
            {format.value(hit.y)}
          </span>
        </div>
      ))}
    </div>
  );
}

interface PickProps {
  word: string;
  value: string;
  of: readonly string[];
  onPick: (name: string) => void;
}

function Pick({ word, value, of, onPick }: PickProps) {
  return (
    <label class="btn pick">
      <span class="v">{word}</span>
      <select aria-label={`Column of ${word}`} value={value} onChange={(event) => onPick(event.currentTarget.value)}>
        {of.map((name) => (
          <option key={name} value={name}>
            {name}
          </option>
        ))}
      </select>
    </label>
  );
}
