import assert from "node:assert/strict";
import { test } from "node:test";
import { colourOf, dashOf, swatchOf } from "../src/model/colours.ts";
import { compile } from "../src/model/filter.ts";
import { decades, padded, places } from "../src/model/scale.ts";
import { search, sections } from "../src/model/sections.ts";
import { DEFAULT, parse, query, type View } from "../src/model/view.ts";

test("metrics are in sections by the first or the last slash, in natural order", () => {
  const metrics = ["train/layer10/grad", "loss", "train/layer2/grad", "eval/loss", "/odd"];
  assert.deepEqual(sections(metrics, "first"), [
    { name: "", metrics: ["/odd", "loss"] },
    { name: "eval", metrics: ["eval/loss"] },
    { name: "train", metrics: ["train/layer2/grad", "train/layer10/grad"] },
  ]);
  assert.deepEqual(
    sections(metrics, "last").map((section) => section.name),
    ["", "eval", "train/layer2", "train/layer10"],
  );
});

test("a search is a regular expression, and a text where it is none", () => {
  const metrics = ["train/loss", "eval/acc", "a(b"];
  assert.deepEqual(search(metrics, "LOSS|acc"), ["train/loss", "eval/acc"]);
  assert.deepEqual(search(metrics, "a("), ["a(b"]);
  assert.deepEqual(search(metrics, " "), metrics);
});

test("neighbours in the order of creation differ in colour, and ten runs later in stroke", () => {
  const looks = Array.from({ length: 40 }, (_, slot) => `${colourOf(slot)} ${String(dashOf(slot))}`);
  assert.equal(new Set(looks).size, 40);
  assert.equal(colourOf(10), colourOf(0));
  assert.equal(swatchOf(10), "sw d2");
});

test("a view reads back from its URL", () => {
  const view: View = {
    runs: ["a b", "ü/&=?#", "c"],
    q: "loss|acc",
    filter: 'tag = "x y"',
    order: "-summary_metrics.eval/loss",
    columns: ["config.lr"],
    group: ["config.optim.name", "state"],
    open: ['["adamw",null]'],
    axis: "relative",
    method: "gaussian",
    weight: 0.9,
    log: true,
    cut: "last",
    zoom: [1.5, 9e15],
    full: "train/loss",
    layout: null,
    archived: true,
    same: true,
    sql: "SELECT '&', 1 = 1 -- ü\nFROM runs",
    chart: ["step", "a b", "run"],
  };
  assert.deepEqual(parse(query(view)), { view, ignored: [], rest: [] });
  assert.equal(query(DEFAULT), "");
  assert.deepEqual(parse("").view, DEFAULT);
  assert.deepEqual(parse(query({ ...DEFAULT, runs: [] })).view.runs, []);
});

test("what a URL says that makes no sense is named, and the rest counts", () => {
  const { view, ignored, rest } = parse("?w=abc&log=1&from=5&to=1&future=1&order=drop");
  assert.deepEqual(ignored.toSorted(), ["from=5&to=1", "order=drop", "w=abc"]);
  assert.equal(view.log, true);
  assert.deepEqual(rest, [["future", "1"]]);
  assert.equal(query(view, rest), "?log=1&future=1");
});

test("a typed filter becomes the server's words", () => {
  const config = (key: string): boolean => key === "lr";
  assert.deepEqual(compile("state in (running, finished) and tag != smoke and eval/loss < 3.2", config).filters, {
    $and: [
      { state: { $in: ["running", "finished"] } },
      { tags: { $ne: "smoke" } },
      { "summary_metrics.eval/loss": { $lt: 3.2 } },
    ],
  });
  assert.deepEqual(compile("lr<1e-3 or config.opt.name = adamw", config).filters, {
    $or: [{ "config.lr": { $lt: 0.001 } }, { "config.opt.name": { $eq: "adamw" } }],
  });
  assert.deepEqual(compile("muon (x.y)").filters, {
    $and: [{ display_name: { $regex: "(?i)muon" } }, { display_name: { $regex: "(?i)x\\.y" } }],
  });
  assert.deepEqual(compile('not name = "007"').filters, { $nor: [{ display_name: { $eq: "007" } }] });
  assert.deepEqual(compile("  "), { filters: null, error: null });
});

test("a filter that is not finished says what is missing", () => {
  for (const [text, wanted] of [
    ["lr <", /value after “<” is missing/],
    ["state in (a", /“\)” is missing/],
    ["< 3", /name is missing before “<”/],
    ["a ) b", /one too many/],
    ["a and", /condition is missing/],
  ] as const)
    assert.match(compile(text).error ?? "", wanted, text);
});

test("an axis has round places inside its range, at any size", () => {
  assert.deepEqual(places(0, 20_000, 4, false), [0, 5000, 10_000, 15_000, 20_000]);
  assert.deepEqual(places(0, 7200, 4, true), [0, 1800, 3600, 5400, 7200]);
  assert.deepEqual(places(0, 0.8, 4, true), [0, 0.2, 0.4, 0.6, 0.8]);
  assert.deepEqual(decades(0.1, 1000, 5), [0.1, 1, 10, 100, 1000]);
  assert.deepEqual(decades(2, 8, 3), [2, 4, 6, 8]);
  assert.deepEqual(places(5, 5, 4, false), []);
  for (const [low, high] of [
    [1e300, 1.7e308],
    [-1e-300, 1e-300],
    [2 ** 53, 2 ** 53 + 8],
  ] as const) {
    const found = places(low, high, 5, false);
    assert.ok(found.length > 0 && found.length < 14 && found.every((at) => at >= low - 1 && at <= high), String(low));
  }
});

test("one value alone has a range around it", () => {
  const [low, high] = padded(0.4127, 0.4127, false);
  assert.ok(low < 0.4127 && high > 0.4127);
  assert.deepEqual(padded(Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, false), [0, 1]);
});
