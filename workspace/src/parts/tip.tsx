// The tooltip of a chart: the logged points near the cursor, with the nearest line in bold, and how the values were
// computed.

import type { Hit, Line } from "../chart/series.ts";
import * as format from "../model/format.ts";
import { type Axis, AXIS_WORDS, isTimed, metricOf } from "../model/view.ts";
import { Swatch } from "./marks.tsx";

const ROWS = 12;
const ROOM = 250;

export interface Shown {
  x: number;
  hits: readonly Hit[];
  /** The line that is nearest to the cursor. */
  nearest: string;
  /** The positions of the points, in CSS pixels of the plot. */
  dots: readonly { id: string; slot: number; left: number; top: number }[];
  left: number;
  width: number;
}

interface Props {
  shown: Shown;
  axis: Axis;
  origin: bigint;
  smooth: boolean;
}

export function Tip({ shown, axis, origin, smooth }: Props) {
  const near = shown.hits.find((hit) => hit.line.id === shown.nearest);
  const sorted = shown.hits.toSorted((a, b) => (Number.isNaN(a.y) ? 1 : Number.isNaN(b.y) ? -1 : b.y - a.y));
  const at = near ? sorted.indexOf(near) : 0;
  const first = Math.max(0, Math.min(at - ROWS / 2, sorted.length - ROWS));
  const rows = sorted.slice(first, first + ROWS);
  // On the side with more room, and never outside of the panel.
  const right = shown.left > shown.width / 2;
  const side = right ? { right: `${Math.max(8, shown.width - shown.left + 14)}px` } : { left: `${shown.left + 14}px` };
  return (
    <>
      {shown.dots.map((dot) =>
        Number.isFinite(dot.top) ? (
          <i
            key={dot.id}
            class={`dot k${(dot.slot % 10) + 1}`}
            style={{ left: `${dot.left}px`, top: `${dot.top + 30}px` }}
          />
        ) : null,
      )}
      <div class="pop tip" style={{ ...side, maxWidth: `${Math.max(ROOM, shown.width / 2)}px` }} role="status">
        <div class="h">
          <b>{placeWord(near, shown.x, axis, origin)}</b>
          {near && axis === "step" && <span>{spanWord(near, origin)}</span>}
        </div>
        {rows.map((hit) => (
          <div key={hit.line.id} class={`r${hit === near ? " on" : ""}`}>
            <Swatch slot={hit.line.slot} />
            <span class="cut">{hit.line.name}</span>
            <span class="num" title={format.exact(hit.y)}>
              {format.value(hit.y)}
            </span>
          </div>
        ))}
        {sorted.length === 0 && <div class="dim">No run has a point here</div>}
        {sorted.length > rows.length && <div class="dim">+ {sorted.length - rows.length} more</div>}
        {near && <Foot hit={near} smooth={smooth} />}
      </div>
    </>
  );
}

/** How the value under the cursor was computed: a single point is exact, a bucket shows its extremes. */
function Foot({ hit: { line, index }, smooth }: { hit: Hit; smooth: boolean }) {
  const b = line.buckets;
  if (b.count[index] === 1)
    return smooth ? (
      <div class="f">
        raw <b>{format.value(b.first[index]!)}</b>, one point
      </div>
    ) : null;
  const name = (writers: Int32Array | null) => (writers ? ` (${line.writers[writers[index]!] ?? "?"})` : "");
  return (
    <div class="f">
      mean <b>{format.value(b.mean[index]!)}</b> of {format.count(b.count[index]!)} points
      <br />
      min {format.value(b.min[index]!)}
      {name(b.minWriter)}, max {format.value(b.max[index]!)}
      {name(b.maxWriter)}
      {b.odd[index]! > 0 && (
        <>
          <br />
          {format.count(b.odd[index]!)} NaN or infinite
        </>
      )}
    </div>
  );
}

function placeWord(near: Hit | undefined, x: number, axis: Axis, origin: bigint): string {
  if (axis === "relative") return format.duration(near?.x ?? x);
  if (axis === "time") return format.when((near?.x ?? x) * 1000);
  const metric = metricOf(axis);
  if (metric !== null) return `${metric} ${format.value(near?.x ?? x)}`;
  if (!near) return `step ${format.step(origin + BigInt(Math.round(x)))}`;
  const first = origin + BigInt(Math.round(near.line.x0[near.index]!));
  return `step ${format.step(first)}`;
}

function spanWord(near: Hit, origin: bigint): string {
  const [first, last] = [near.line.x0[near.index]!, near.line.x1[near.index]!];
  return first === last ? "" : `to ${format.step(origin + BigInt(Math.round(last)))}`;
}

/** A description of the chart. */
export function summaryOf(metric: string, lines: readonly Line[], axis: Axis): string {
  const parts = lines.slice(0, 6).map((line) => {
    const b = line.buckets;
    const [min, max] = [b.min, b.max].map((ys, i) =>
      ys.reduce(
        (a, y) => (Number.isNaN(y) ? a : i === 0 ? Math.min(a, y) : Math.max(a, y)),
        i === 0 ? Infinity : -Infinity,
      ),
    );
    return `${line.name}: last ${format.value(b.last.at(-1) ?? Number.NaN)}, between ${format.value(min!)} and ${format.value(max!)}`;
  });
  const more = lines.length > parts.length ? `, and ${lines.length - parts.length} more` : "";
  const over = metricOf(axis) ?? (isTimed(axis) ? AXIS_WORDS[axis].toLowerCase() : "steps");
  return `${metric} over ${over}. ${parts.join("; ")}${more}. Arrow keys move the cursor.`;
}
