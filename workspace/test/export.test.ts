import assert from "node:assert/strict";
import { test } from "node:test";
import { drawFigure, figureSize } from "../src/chart/figure.ts";
import { SvgPen } from "../src/chart/pen.ts";
import type { Picture } from "../src/chart/plot.ts";
import { literal, rowsOf, sqlOf } from "../src/chart/rows.ts";
import { lineThrough } from "../src/chart/series.ts";
import type { Theme } from "../src/chart/theme.ts";

const THEME: Theme = {
  lines: ["rgb(1, 2, 3)", "rgb(4, 5, 6)"],
  ...{ ink: "#111", text: "#222", grid: "#eee", axis: "#ccc", lane: "#fafafa", surface: "#fff", warn: "#850" },
  ...{ bad: "#b00", muted: "#555", accent: "#066", font: "10.5px system-ui", rawOpacity: 0.24, dimOpacity: 0.18 },
};
const HOSTILE = `a<script>alert("x")</script>&'\u0000`;
const LINES = [
  lineThrough(HOSTILE, 0, Float64Array.of(0, 1, 2), Float64Array.of(1, Number.NaN, 3)),
  lineThrough("b", 1, Float64Array.of(0, 5), Float64Array.of(2, 4)),
];
const PICTURE: Picture = {
  ...{ lines: LINES, smooth: false, hovered: null, marks: [{ kind: "nan", x: 1 }], axis: "step", log: false },
  ...{ x: [0, 5], y: [0, 5], origin: 0n },
};

test("a chart becomes an SVG document with its title, axes, lines and legend, and names stay texts", () => {
  const pen = new SvgPen();
  const size = { width: 600, height: 200 };
  drawFigure(pen, HOSTILE, PICTURE, size, THEME, 1);
  const whole = figureSize(size, PICTURE);
  const svg = pen.svg(whole.width, whole.height);
  assert.match(svg, /^<svg xmlns="http:\/\/www.w3.org\/2000\/svg" width="600" height="260"/u);
  assert.ok(!svg.includes("<script"));
  assert.ok(svg.includes("a&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;&amp;'\ufffd"));
  assert.equal(svg.match(/<g /gu)?.length, svg.match(/<\/g>/gu)?.length);
  assert.ok(svg.includes('stroke="rgb(1, 2, 3)"') && svg.includes('fill="rgb(4, 5, 6)"'));
  assert.ok(!/NaN|undefined|Infinity/u.test(svg));
});

test("rows have each bucket in sight, and x and the smoothed value where they are of their own", () => {
  const [head, ...rows] = rowsOf(LINES, "step", false, [-Infinity, Infinity]);
  assert.equal(head!.length, 11);
  assert.deepEqual(
    rows.map((row) => [row[1], row[2], row[8]]),
    [
      [HOSTILE, "0", 1],
      [HOSTILE, "1", Number.NaN],
      [HOSTILE, "2", 3],
      ["b", "0", 2],
      ["b", "5", 4],
    ],
  );
  const [more, ...some] = rowsOf(LINES, "metric:x", true, [1.5, 4]);
  assert.deepEqual(more!.slice(-2), ["x", "smoothed"]);
  assert.deepEqual(
    some.map((row) => row[2]),
    ["2"],
  );
});

test("names are literals in SQL, whatever they have in them", () => {
  assert.equal(literal("it's"), "'it''s'");
  assert.equal(literal("a\\'; --"), "E'a\\\\''; --'");
  const sql = sqlOf(
    ["e'", "p"],
    [{ run: "r'", metric: "loss'\n-- x", width: 4, buckets: 9, window: ["1", "7"] }],
    "step",
    ["2", "5"],
    "Gaussian, 0.50",
  );
  assert.ok(sql.startsWith("-- loss' -- x: the buckets of one run"));
  assert.ok(sql.includes("('r''', 4::bigint, 9, 1::bigint, 7::bigint)"));
  assert.ok(sql.includes("r.entity = 'e''' AND r.project = 'p'"));
  assert.ok(sql.includes("HAVING max(s.last_step) >= 2 AND min(s.first_step) <= 5"));
  assert.ok(sql.includes("\n-- before smoothing: the chart shows means after Gaussian, 0.50,"));
  const over = sqlOf(
    ["e", "p"],
    [{ run: "r", metric: "loss", width: 1, buckets: 9, window: null }],
    "metric:epoch",
    null,
  );
  assert.ok(over.includes("'epoch'") && over.includes("CROSS JOIN LATERAL (\n    SELECT CASE"));
});
