// Draws lines on a canvas. Each bucket is drawn through its first, least, greatest and last point, which at two pixels
// per bucket looks as if every point were drawn: a spike of one step is visible, and "no smoothing" smooths nothing.

import { dashOf } from "../model/colours.ts";
import type { Pen } from "./pen.ts";
import type { Line } from "./series.ts";
import type { Theme } from "./theme.ts";

export const LANE = 11;

/** Segments in a path, at most. Without a GPU, the time to fill the outline of a long, noisy line grows with more than its
    length: 10 lines of 840 segments took 65 ms in one path each, and 12 in paths of 16 with bevelled joins. */
const PATH_SEGMENTS = 16;
/** Longer lines have such short segments that their joins cannot be seen. */
const SMOOTH_SEGMENTS = 200;

export interface Frame {
  /** The plot area in device pixels. */
  left: number;
  top: number;
  width: number;
  height: number;
  ratio: number;
  x: [number, number];
  y: [number, number];
  log: boolean;
}

export interface Mark {
  kind: "nan" | "rejected" | "alert";
  x: number;
}

export interface Paint {
  lines: readonly Line[];
  /** The mean of writers and of smoothed series is a line of its own, in front of the faint points. */
  smooth: boolean;
  /** The hovered line, drawn bold; the others are dimmed. */
  hovered: string | null;
  marks: readonly Mark[];
}

export function paint(ctx: Pen, frame: Frame, what: Paint, theme: Theme): void {
  ctx.save();
  ctx.beginPath();
  ctx.rect(frame.left, frame.top - 3 * frame.ratio, frame.width + 6 * frame.ratio, frame.height + 4 * frame.ratio);
  ctx.clip();
  const order = what.lines.toSorted((a, b) => Number(a.id === what.hovered) - Number(b.id === what.hovered));
  for (const line of order) {
    const colour = theme.lines[line.slot % theme.lines.length]!;
    const dim = what.hovered !== null && what.hovered !== line.id;
    const banded = line.buckets.minWriter !== null;
    ctx.strokeStyle = ctx.fillStyle = colour;
    if (banded) {
      ctx.globalAlpha = dim ? 0.04 : 0.16;
      band(ctx, frame, line);
    } else if (what.smooth) {
      ctx.globalAlpha = dim ? theme.rawOpacity * theme.dimOpacity : theme.rawOpacity;
      ctx.lineWidth = frame.ratio;
      ctx.setLineDash([]);
      points(ctx, frame, line);
    }
    ctx.globalAlpha = dim ? theme.dimOpacity : 1;
    ctx.lineWidth = (what.hovered === line.id ? 2.25 : 1.5) * frame.ratio;
    ctx.setLineDash(dashOf(line.slot).map((length) => length * frame.ratio));
    if (banded || what.smooth) stroke(ctx, frame, line.xm, line.smoothed);
    else points(ctx, frame, line);
    if (line.running && !dim) ring(ctx, frame, line, colour, theme, banded || what.smooth);
  }
  ctx.restore();
  lane(ctx, frame, what.marks, theme);
}

/** The position of a value in device pixels; NaN where a logarithmic axis has none. */
export function place(frame: Frame, x: number, y: number): [number, number] {
  return [placeX(frame)(x), placeY(frame)(y)];
}

function placeX({ left, width, x: [low, high] }: Frame): (x: number) => number {
  const scale = width / (high - low || 1);
  return (x) => left + (x - low) * scale;
}

function placeY({ top, height, y: [low, high], log }: Frame): (y: number) => number {
  if (log) {
    const [a, b] = [Math.log10(low), Math.log10(high)];
    return (y) => (y > 0 ? top + height - ((Math.log10(y) - a) / (b - a || 1)) * height : Number.NaN);
  }
  return (y) => top + height - ((y - low) / (high - low || 1)) * height;
}

function stroke(ctx: Pen, frame: Frame, xs: Float64Array, ys: Float64Array): void {
  const [atX, atY] = [placeX(frame), placeY(frame)];
  const long = xs.length > SMOOTH_SEGMENTS;
  const most = long && !ctx.keepsPaths ? PATH_SEGMENTS : Infinity;
  ctx.lineJoin = long ? "bevel" : "round";
  ctx.lineDashOffset = 0;
  ctx.beginPath();
  let segments = 0;
  let drawn = 0; // the length so far, where the dashes of the next path go on
  let [lastX, lastY] = [0, 0];
  let down = false;
  let alone = -1;
  const dot = (): void => {
    if (alone >= 0)
      ctx.rect(atX(xs[alone]!) - frame.ratio / 2, atY(ys[alone]!) - frame.ratio / 2, frame.ratio, frame.ratio);
    alone = -1;
  };
  for (let i = 0; i < xs.length; i += 1) {
    const [x, y] = [atX(xs[i]!), atY(ys[i]!)];
    if (!Number.isFinite(y)) {
      dot();
      down = false;
      continue;
    }
    if (down) {
      ctx.lineTo(x, y);
      drawn += Math.hypot(x - lastX, y - lastY);
      segments += 1;
      alone = -1;
    } else {
      dot();
      ctx.moveTo(x, y);
      alone = i;
    }
    down = true;
    [lastX, lastY] = [x, y];
    if (segments >= most) {
      segments = 0;
      ctx.stroke();
      ctx.beginPath();
      ctx.moveTo(x, y);
      ctx.lineDashOffset = drawn;
    }
  }
  dot();
  ctx.stroke();
}

/** A line through first, least, greatest and last of each bucket; values that are not finite break it. */
function points(ctx: Pen, frame: Frame, line: Line): void {
  const { buckets: b, x0, x1, xm } = line;
  const xs = new Float64Array(4 * b.count.length);
  const ys = new Float64Array(4 * b.count.length);
  let n = 0;
  const put = (x: number, y: number): void => {
    xs[n] = x;
    ys[n] = y;
    n += 1;
  };
  for (let i = 0; i < b.count.length; i += 1) {
    if (b.count[i] === 1) {
      put(x0[i]!, b.first[i]!);
      continue;
    }
    const [first, last] = [b.first[i]!, b.last[i]!];
    put(x0[i]!, first);
    for (const extreme of first <= last ? [b.min[i]!, b.max[i]!] : [b.max[i]!, b.min[i]!]) {
      // An end that is an extreme is drawn already: a second one in the middle would make a slope a step.
      if (extreme !== first && extreme !== last) put(xm[i]!, extreme);
    }
    put(x1[i]!, last);
  }
  stroke(ctx, frame, xs.subarray(0, n), ys.subarray(0, n));
}

function band(ctx: Pen, frame: Frame, { buckets: b, xm }: Line): void {
  const [atX, atY] = [placeX(frame), placeY(frame)];
  const floor = frame.top + frame.height;
  const low = (i: number): number => {
    const y = atY(b.min[i]!);
    return Number.isFinite(y) ? y : floor; // what a logarithmic axis does not have lies below it
  };
  for (let from = 0; from < xm.length;) {
    let to = from;
    while (to < xm.length && Number.isFinite(atY(b.max[to]!))) to += 1;
    if (to > from) {
      ctx.beginPath();
      for (let i = from; i < to; i += 1) ctx.lineTo(atX(xm[i]!), atY(b.max[i]!));
      for (let i = to - 1; i >= from; i -= 1) ctx.lineTo(atX(xm[i]!), low(i));
      ctx.fill();
    }
    from = to + 1;
  }
}

/** The live end: a ring at the last stored step. */
function ring(ctx: Pen, frame: Frame, line: Line, colour: string, theme: Theme, smooth: boolean): void {
  const last = line.xm.length - 1;
  const [x, y] = smooth
    ? place(frame, line.xm[last]!, line.smoothed[last]!)
    : place(frame, line.x1[last]!, line.buckets.last[last]!);
  if (!Number.isFinite(y) || x < frame.left || x > frame.left + frame.width) return;
  ctx.setLineDash([]);
  ctx.beginPath();
  ctx.arc(x, y, 2.75 * frame.ratio, 0, 7);
  ctx.fillStyle = theme.surface;
  ctx.strokeStyle = colour;
  ctx.lineWidth = 1.5 * frame.ratio;
  ctx.fill();
  ctx.stroke();
}

function lane(ctx: Pen, frame: Frame, marks: readonly Mark[], theme: Theme): void {
  const { left, width, ratio } = frame;
  const top = frame.top + frame.height;
  ctx.save();
  ctx.fillStyle = theme.lane;
  ctx.fillRect(left, top + ratio, width, (LANE - 1) * ratio);
  ctx.fillStyle = theme.axis;
  ctx.fillRect(left, top, width, ratio);
  const atX = placeX(frame);
  const y = top + ((LANE + 1) / 2) * ratio;
  let taken = -Infinity;
  for (const mark of marks.toSorted((a, b) => a.x - b.x)) {
    const x = atX(mark.x);
    if (x < left - 1 || x > left + width + 1 || x - taken < 5 * ratio) continue; // of a cluster, only the first is drawn
    taken = x;
    ctx.beginPath();
    if (mark.kind === "nan") {
      ctx.fillStyle = theme.warn;
      for (const [dx, dy] of [
        [0, -4.5],
        [4.5, 0],
        [0, 4.5],
        [-4.5, 0],
      ] as const)
        ctx.lineTo(x + dx * ratio, y + dy * ratio);
      ctx.fill();
    } else if (mark.kind === "alert") {
      ctx.fillStyle = theme.bad;
      for (const [dx, dy] of [
        [0, -4.5],
        [5, 4],
        [-5, 4],
      ] as const)
        ctx.lineTo(x + dx * ratio, y + dy * ratio);
      ctx.fill();
    } else {
      ctx.strokeStyle = theme.bad;
      ctx.lineWidth = 1.6 * ratio;
      ctx.moveTo(x - 3 * ratio, y - 3 * ratio);
      ctx.lineTo(x + 3 * ratio, y + 3 * ratio);
      ctx.moveTo(x + 3 * ratio, y - 3 * ratio);
      ctx.lineTo(x - 3 * ratio, y + 3 * ratio);
      ctx.stroke();
    }
  }
  ctx.restore();
}
