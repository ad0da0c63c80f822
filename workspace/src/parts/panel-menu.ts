// What a chart can be saved or copied as.

import { drawFigure, figureSize } from "../chart/figure.ts";
import { SvgPen } from "../chart/pen.ts";
import type { Plot } from "../chart/plot.ts";
import { rowsOf, sqlOf } from "../chart/rows.ts";
import type { Line } from "../chart/series.ts";
import { theme } from "../chart/theme.ts";
import type { PanelData } from "../data/panel.ts";
import { type Axis } from "../model/view.ts";
import { csv, save, saveBlob } from "./csv.ts";
import type { Item } from "./menu.tsx";

const RATIO = 2;

interface Chart {
  title: string;
  /** entity/project; null: SQL does not have these metrics as points. */
  path: string | null;
  /** The data of each metric. */
  data: ReadonlyMap<string, PanelData>;
  lines: readonly Line[];
  axis: Axis;
  zoom: readonly [number, number] | null;
  /** The smoothing in words; "": there is none. */
  smoothing: string;
  plot: Plot | null;
  host: HTMLElement | null;
}

export function panelItems(chart: Chart): Item[] {
  const why = chart.lines.length === 0 ? "Nothing is drawn" : "";
  const name = chart.title.replaceAll(/[^\w.-]+/gu, "-");
  const items: Item[] = [
    { word: "Save as PNG", why, run: () => savePng(chart, `${name}.png`) },
    { word: "Save as SVG", why, run: () => saveSvg(chart, `${name}.svg`) },
    { word: "Save as CSV", why, run: () => save(`${name}.csv`, csv(rows(chart)), "text/csv") },
  ];
  const { path } = chart;
  if (path !== null) items.push({ word: "Copy as SQL", why, run: () => copy(sql(chart, path)) });
  return items;
}

function copy(text: string): void {
  void navigator.clipboard?.writeText(text).catch(() => undefined);
}

function rows({ lines, axis, smoothing, zoom }: Chart): unknown[][] {
  return rowsOf(lines, axis, smoothing !== "", zoom ?? [-Infinity, Infinity]);
}

function sql({ data, lines, axis, zoom, smoothing }: Chart, path: string): string {
  const slash = path.indexOf("/");
  const [entity, project] = [path.slice(0, slash), path.slice(slash + 1)];
  const drawn = lines.map(({ run, metric, buckets: { width } }) => ({
    ...{ run, metric, width },
    ...data.get(metric)!.askedFor(run),
  }));
  const origin = lines.reduce(
    (least, { buckets }) => (buckets.origin < least ? buckets.origin : least),
    lines[0]!.buckets.origin,
  );
  const step = (at: number): string => String(origin + BigInt(Math.round(at)));
  const inside = axis === "step" && zoom ? ([step(Math.ceil(zoom[0])), step(Math.floor(zoom[1]))] as const) : null;
  return sqlOf([entity, project], drawn, axis, inside, smoothing);
}

function saveSvg(chart: Chart, file: string): void {
  const [picture, element, colours] = [chart.plot?.picture, chart.host, theme.value];
  if (!picture || !element || !colours) return;
  const size = { width: element.clientWidth, height: element.clientHeight };
  const pen = new SvgPen();
  drawFigure(pen, chart.title, picture, size, colours, 1);
  const whole = figureSize(size, picture);
  save(file, pen.svg(whole.width, whole.height), "image/svg+xml");
}

function savePng(chart: Chart, file: string): void {
  const [picture, element, colours] = [chart.plot?.picture, chart.host, theme.value];
  if (!picture || !element || !colours) return;
  const size = { width: element.clientWidth, height: element.clientHeight };
  const whole = figureSize(size, picture);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [Math.round(whole.width * RATIO), Math.round(whole.height * RATIO)];
  const pen = canvas.getContext("2d");
  if (!pen) return;
  drawFigure(pen, chart.title, picture, size, colours, RATIO);
  canvas.toBlob((blob) => blob && saveBlob(file, blob), "image/png");
}
