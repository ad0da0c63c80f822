// The only module that uses uPlot, for axes, scales, cursor and selection; paint.ts draws the lines.

import UPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { ticks } from "../model/format.ts";
import { decades, places } from "../model/scale.ts";
import { type Axis, isTimed } from "../model/view.ts";
import { labelsOf } from "./labels.ts";
import { type Frame, LANE, paint, type Paint, place } from "./paint.ts";
import type { Theme } from "./theme.ts";

export interface Picture extends Paint {
  axis: Axis;
  log: boolean;
  x: [number, number];
  y: [number, number];
  /** The origin of x on an axis of steps. */
  origin: bigint;
}

export interface Told {
  /** The cursor is at this x of the axis, and at this height in CSS pixels of the plot; null: it has left. */
  hover(x: number | null, top: number): void;
  /** A range was selected; null: the whole range. */
  zoom(range: [number, number] | null): void;
}

export class Plot {
  #u: UPlot | null = null;
  #host: HTMLElement;
  #told: Told;
  #picture: Picture | null = null;
  #theme: Theme;
  #frame = 0;
  #made = "";

  constructor(host: HTMLElement, theme: Theme, told: Told) {
    this.#host = host;
    this.#theme = theme;
    this.#told = told;
  }

  /** Shows a picture at the next frame of the display; several in between are merged. */
  show(picture: Picture): void {
    this.#picture = picture;
    if (this.#frame === 0)
      this.#frame = requestAnimationFrame(() => {
        this.#frame = 0;
        this.#draw();
      });
  }

  /** What is shown; null: nothing yet. */
  get picture(): Picture | null {
    return this.#picture;
  }

  retheme(theme: Theme): void {
    this.#theme = theme;
    this.#made = "";
    if (this.#picture) this.show(this.#picture);
  }

  /** Moves the crosshair to x without a notification. */
  cross(x: number | null): void {
    if (!this.#u) return;
    const left = x === null ? -10 : this.#u.valToPos(x, "x");
    this.#u.setCursor({ left: left < 0 || left > this.#u.over.clientWidth ? -10 : left, top: -10 }, false);
  }

  /** The position of a value in CSS pixels of the host; NaN where it is not drawn. */
  at(x: number, y: number): [number, number] {
    if (!this.#u) return [Number.NaN, Number.NaN];
    const ratio = this.#frameOf(this.#u).ratio;
    const [left, top] = place(this.#frameOf(this.#u), x, y);
    return [left / ratio, top / ratio];
  }

  /** Steps of x for each CSS pixel. */
  perPixel(): number {
    if (!this.#u || !this.#picture) return 0;
    return (this.#picture.x[1] - this.#picture.x[0]) / Math.max(1, this.#u.over.clientWidth);
  }

  destroy(): void {
    cancelAnimationFrame(this.#frame);
    this.#u?.destroy();
    this.#u = null;
    this.#picture = null;
  }

  #draw(): void {
    const picture = this.#picture;
    const [width, height] = [this.#host.clientWidth, this.#host.clientHeight];
    if (!picture || width === 0 || height === 0) return;
    // A scale keeps its kind for as long as the chart lives.
    const made = `${picture.log}`;
    if (!this.#u || this.#made !== made) {
      this.#u?.destroy();
      this.#u = new UPlot(
        this.#options(width, height),
        [
          [0, 1],
          [null, null],
        ],
        this.#host,
      );
      this.#made = made;
    }
    const u = this.#u;
    u.batch(() => {
      if (u.width !== width || u.height !== height) u.setSize({ width, height });
      u.setScale("x", { min: picture.x[0], max: picture.x[1] });
      u.setScale("y", { min: picture.y[0], max: picture.y[1] });
      u.redraw(false, true);
    });
  }

  #frameOf(u: UPlot): Frame {
    const { left, top, width, height } = u.bbox;
    const picture = this.#picture!;
    return { left, top, width, height, ratio: devicePixelRatio, x: picture.x, y: picture.y, log: picture.log };
  }

  #options(width: number, height: number): UPlot.Options {
    const theme = this.#theme;
    const told = this.#told;
    const axis: UPlot.Axis = { stroke: theme.text, font: theme.font, ticks: { show: false } };
    return {
      width,
      height,
      padding: [6, 12, 0, 0],
      legend: { show: false },
      cursor: {
        y: false,
        points: { show: false },
        drag: { x: true, y: false, setScale: false },
        bind: { dblclick: () => () => (told.zoom(null), null) },
      },
      scales: {
        x: { time: false, auto: false, range: () => this.#picture!.x },
        // Unchanged: lines are painted with the same range, so uPlot must not round it.
        y: { auto: false, distr: this.#picture!.log ? 3 : 1, range: () => this.#picture!.y },
      },
      series: [{}, { show: true, paths: () => null, points: { show: false } }],
      axes: [
        {
          ...axis,
          size: 20 + LANE,
          gap: LANE + 3,
          grid: { show: false },
          splits: (u, _, low, high) =>
            places(low, high, Math.max(2, Math.floor(u.over.clientWidth / 70)), isTimed(this.#picture!.axis)),
          values: (_, splits) => labelsOf(splits, this.#picture!.axis, this.#picture!.origin),
        },
        {
          ...axis,
          size: (_, labels) => Math.max(42, ...(labels ?? []).map((text) => text.length * 6 + 14)),
          gap: 4,
          filter: (_, splits) => splits, // on a logarithmic axis uPlot would leave labels out
          grid: { stroke: theme.grid, width: 1 },
          splits: (u, _, low, high) => {
            const wanted = Math.max(2, Math.floor(u.over.clientHeight / 42));
            return this.#picture!.log ? decades(low, high, wanted) : places(low, high, wanted, false);
          },
          values: (_, splits) => ticks(splits),
        },
      ],
      hooks: {
        draw: [(u) => this.#picture && paint(u.ctx, this.#frameOf(u), this.#picture, this.#theme)],
        ready: [(u) => this.#listen(u)],
        setSelect: [
          (u) => {
            const { left, width } = u.select;
            if (width > 4) told.zoom([u.posToVal(left, "x"), u.posToVal(left + width, "x")]);
            u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          },
        ],
      },
    };
  }

  // Not uPlot's hook: that also fires when the crosshair of another chart is taken over.
  #listen(u: UPlot): void {
    let frame = 0;
    u.over.addEventListener("mousemove", (event) => {
      cancelAnimationFrame(frame);
      frame = requestAnimationFrame(() => {
        const { left, top } = u.over.getBoundingClientRect();
        this.#told.hover(u.posToVal(event.clientX - left, "x"), event.clientY - top);
      });
    });
    u.over.addEventListener("mouseleave", () => {
      cancelAnimationFrame(frame);
      this.#told.hover(null, 0);
    });
  }
}
