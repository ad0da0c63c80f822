// The histograms of a key: a heat map over steps, and the bars of one step.

import { useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { type Theme, theme } from "../chart/theme.ts";
import * as format from "../model/format.ts";
import { type HeatMap, heatMap, type Histogram, rebinned, spread, total, valueRange } from "../model/histograms.ts";
import { places } from "../model/scale.ts";

const ROWS = 48;
const [LEFT, BOTTOM, TOP, HEIGHT] = [56, 20, 6, 200];

interface Props {
  name: string;
  all: readonly { step: number; histogram: Histogram }[];
  /** The step in sight. */
  step: number;
  choose: (step: number) => void;
}

/** A place in the picture: the index of a column, and a row. */
interface Cell {
  column: number;
  row: number;
}

export function Histograms({ name, all, step, choose }: Props) {
  const map = useMemo(() => heatMap(all, ROWS), [all]);
  const here = all.filter((one) => one.step === step).map(({ histogram }) => histogram);
  if (!map) return <p class="pad dim">These histograms hold no values.</p>;
  return (
    <div class="histograms">
      {map.steps.length > 1 && <Heat name={name} map={map} step={step} choose={choose} />}
      <Bars name={name} here={here} step={step} />
    </div>
  );
}

function Heat({ name, map, step, choose }: { name: string; map: HeatMap; step: number; choose: Props["choose"] }) {
  const cell = useSignal<Cell | null>(null);
  const [host, width] = useWidth();
  const canvas = useRef<HTMLCanvasElement>(null);
  const inside = Math.max(1, width - LEFT);
  useEffect(() => {
    const [ctx, colours] = [canvas.current && ready(canvas.current, width), theme.value];
    if (!ctx || !colours) return;
    const [columns, height] = [map.steps.length, HEIGHT - TOP - BOTTOM];
    ctx.fillStyle = colours.accent;
    map.shares.forEach((shares, column) => {
      const [from, to] = [(column / columns) * inside, ((column + 1) / columns) * inside];
      shares.forEach((share, row) => {
        if (share === 0) return;
        ctx.globalAlpha = Math.sqrt(share / map.most);
        const y = TOP + height * (1 - (row + 1) / ROWS);
        ctx.fillRect(LEFT + from, y, Math.max(1, to - from + 0.5), height / ROWS + 0.5);
      });
    });
    ctx.globalAlpha = 1;
    valueAxis(
      ctx,
      colours,
      map.range,
      (value) => TOP + height * (1 - (value - map.range[0]) / (map.range[1] - map.range[0])),
    );
    ctx.textAlign = "center";
    const every = Math.max(1, Math.ceil(columns / Math.max(1, Math.floor(inside / 70))));
    for (let column = 0; column < columns; column += every)
      ctx.fillText(format.step(map.steps[column]!), LEFT + ((column + 0.5) / columns) * inside, HEIGHT - 5);
    const chosen = map.steps.indexOf(step);
    if (chosen >= 0) {
      ctx.strokeStyle = colours.ink;
      ctx.strokeRect(LEFT + (chosen / columns) * inside + 0.5, TOP, Math.max(2, inside / columns - 1), height);
    }
  }, [map, width, step, theme.value]);
  const at = (event: MouseEvent): Cell => {
    const box = canvas.current!.getBoundingClientRect();
    const column = Math.floor(((event.clientX - box.left - LEFT) / inside) * map.steps.length);
    const row = Math.floor((1 - (event.clientY - box.top - TOP) / (HEIGHT - TOP - BOTTOM)) * ROWS);
    return {
      column: Math.min(map.steps.length - 1, Math.max(0, column)),
      row: Math.min(ROWS - 1, Math.max(0, row)),
    };
  };
  const { column, row } = cell.value ?? { column: map.steps.indexOf(step), row: -1 };
  const height = (map.range[1] - map.range[0]) / ROWS;
  return (
    <div ref={host}>
      <canvas
        ref={canvas}
        role="img"
        aria-label={`${name}: the distribution of its values at ${map.steps.length} steps`}
        onMouseMove={(event) => (cell.value = at(event))}
        onMouseLeave={() => (cell.value = null)}
        onClick={(event) => choose(map.steps[at(event).column]!)}
      />
      <p class="dim num">
        {row < 0
          ? "A row for each range of values, a column for each step; darker where more values are."
          : `step ${format.step(map.steps[column]!)}, ${format.value(map.range[0] + row * height)} to ${format.value(
              map.range[0] + (row + 1) * height,
            )}: ${format.value(map.shares[column]![row]! * 100)} % of the values`}
      </p>
    </div>
  );
}

function Bars({ name, here, step }: { name: string; here: readonly Histogram[]; step: number }) {
  const [host, width] = useWidth();
  const canvas = useRef<HTMLCanvasElement>(null);
  const count = here.reduce((sum, histogram) => sum + total(histogram), 0);
  const range = valueRange(here);
  useEffect(() => {
    const [ctx, colours] = [canvas.current && ready(canvas.current, width), theme.value];
    if (!ctx || !colours || !range) return;
    // The logged bins, if they are visible: with others, the bars would be of another height than logged.
    const logged = Math.max(...here.map((histogram) => spread(histogram)));
    const bins = Math.min(logged, Math.max(8, Math.floor((width - LEFT) / 3)));
    const sums = here.reduce<Float64Array>(
      (so, histogram) => rebinned(histogram, range, bins).map((value, i) => value + so[i]!),
      new Float64Array(bins),
    );
    const [most, height, inside] = [Math.max(...sums) || 1, HEIGHT - TOP - BOTTOM, width - LEFT];
    ctx.fillStyle = colours.accent;
    sums.forEach((value, i) => {
      const tall = (value / most) * height;
      ctx.fillRect(LEFT + (i / bins) * inside, TOP + height - tall, Math.max(1, inside / bins - 1), tall);
    });
    valueAxis(ctx, colours, [0, most], (value) => TOP + height * (1 - value / most));
    ctx.textAlign = "center";
    for (const value of places(...range, Math.floor(inside / 80), false))
      ctx.fillText(format.value(value), LEFT + ((value - range[0]) / (range[1] - range[0])) * inside, HEIGHT - 5);
  }, [here, width, theme.value]);
  return (
    <div ref={host}>
      <canvas ref={canvas} role="img" aria-label={`${name} at step ${step}: the number of values in each bin`} />
      <p class="dim num">
        {range
          ? `${format.value(count)} values from ${format.value(range[0])} to ${format.value(range[1])}`
          : "no values at this step"}
      </p>
    </div>
  );
}

/** Labels of the axis on the left, which the picture leaves room for. */
function valueAxis(
  ctx: CanvasRenderingContext2D,
  colours: Theme,
  range: readonly [number, number],
  y: (value: number) => number,
): void {
  ctx.font = colours.font;
  ctx.fillStyle = colours.text;
  ctx.textAlign = "right";
  for (const value of places(range[0], range[1], 4, false)) ctx.fillText(format.value(value), LEFT - 6, y(value) + 3);
}

/** A canvas of this width in the pixels of the screen, empty. */
function ready(canvas: HTMLCanvasElement, width: number): CanvasRenderingContext2D | null {
  const ratio = devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(HEIGHT * ratio);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${HEIGHT}px`;
  const ctx = canvas.getContext("2d");
  ctx?.scale(ratio, ratio);
  return ctx;
}

/** A box, and its width in CSS pixels. */
function useWidth() {
  const host = useRef<HTMLDivElement>(null);
  const [width, set] = useState(0);
  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => set(Math.floor(entry!.contentRect.width)));
    observer.observe(host.current!);
    return () => observer.disconnect();
  }, []);
  return [host, width] as const;
}
