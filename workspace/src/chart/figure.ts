// A whole chart for a file: title, axes, lines and legend, drawn with any pen. Pure.

import { ticks } from "../model/format.ts";
import { decades, places } from "../model/scale.ts";
import { isTimed } from "../model/view.ts";
import { labelsOf } from "./labels.ts";
import { LANE, paint, type Frame, place } from "./paint.ts";
import type { Pen } from "./pen.ts";
import type { Picture } from "./plot.ts";
import type { Theme } from "./theme.ts";

const TITLE = 30;
const AXIS = 20 + LANE;
const ENTRY = 18;
const ENTRY_WIDTH = 200;
const EDGE = 12;
const LETTER = 6.2;

export interface Size {
  /** Of the plot with its axes. */
  width: number;
  height: number;
}

/** The size of the whole figure. */
export function figureSize({ width, height }: Size, picture: Picture): Size {
  const rows = Math.ceil(picture.lines.length / perRow(width));
  return { width, height: TITLE + height + rows * ENTRY + EDGE };
}

const perRow = (width: number): number => Math.max(1, Math.floor((width - 2 * EDGE) / ENTRY_WIDTH));

/** Draws a picture as it is on the page; `ratio` is pixels for each CSS pixel. */
export function drawFigure(pen: Pen, title: string, picture: Picture, size: Size, theme: Theme, ratio: number): void {
  const whole = figureSize(size, picture);
  const px = (value: number): number => value * ratio;
  const font = theme.font.replace(/^[\d.]+px/u, (given) => `${Number.parseFloat(given) * ratio}px`);
  const wanted = Math.max(2, Math.floor((size.height - AXIS) / 42));
  const ys = picture.log ? decades(...picture.y, wanted) : places(...picture.y, wanted, false);
  const yTexts = ticks(ys);
  const gutter = Math.max(42, ...yTexts.map((label) => label.length * LETTER + 14));
  const frame: Frame = {
    left: px(gutter),
    top: px(TITLE + 6),
    width: px(size.width - gutter - EDGE),
    height: px(size.height - AXIS - 6),
    ratio,
    x: picture.x,
    y: picture.y,
    log: picture.log,
  };
  pen.fillStyle = theme.surface;
  pen.fillRect(0, 0, px(whole.width), px(whole.height));
  pen.font = font.replace(/^[\d.]+px/u, `600 ${12 * ratio}px`);
  pen.fillStyle = theme.ink;
  pen.textAlign = "left";
  pen.fillText(title, px(EDGE), px(20));
  pen.font = font;
  pen.fillStyle = theme.text;
  pen.textAlign = "right";
  ys.forEach((at, i) => {
    const [, y] = place(frame, picture.x[0], at);
    pen.fillText(yTexts[i]!, frame.left - px(6), y + px(4));
  });
  pen.lineWidth = ratio;
  pen.strokeStyle = theme.grid;
  pen.beginPath();
  for (const at of ys) {
    const [, y] = place(frame, picture.x[0], at);
    pen.moveTo(frame.left, y);
    pen.lineTo(frame.left + frame.width, y);
  }
  pen.stroke();
  const xs = places(...picture.x, Math.max(2, Math.floor(size.width / 90)), isTimed(picture.axis));
  pen.textAlign = "center";
  labelsOf(xs, picture.axis, picture.origin).forEach((label, i) => {
    const [x] = place(frame, xs[i]!, picture.y[0]);
    pen.fillText(label, x, frame.top + frame.height + px(LANE + 15));
  });
  paint(pen, frame, { ...picture, hovered: null }, theme);
  legend(pen, picture, size, theme, px);
}

function legend(pen: Pen, picture: Picture, size: Size, theme: Theme, px: (value: number) => number): void {
  const columns = perRow(size.width);
  pen.textAlign = "left";
  picture.lines.forEach((line, i) => {
    const x = EDGE + (i % columns) * ENTRY_WIDTH;
    const y = TITLE + size.height + Math.floor(i / columns) * ENTRY + 6;
    pen.fillStyle = theme.lines[line.slot % theme.lines.length]!;
    pen.fillRect(px(x), px(y), px(14), px(4));
    pen.fillStyle = theme.text;
    const most = Math.floor((ENTRY_WIDTH - 30) / LETTER);
    const name = [...line.name];
    pen.fillText(name.length > most ? `${name.slice(0, most - 1).join("")}…` : line.name, px(x + 20), px(y + 6));
  });
}
