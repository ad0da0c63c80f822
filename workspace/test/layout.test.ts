import assert from "node:assert/strict";
import { test } from "node:test";
import {
  added,
  arrange,
  AUTOMATIC,
  duplicated,
  type Layout,
  moved,
  putBack,
  removed,
  resized,
  settingsOf,
  withPanel,
  withSection,
} from "../src/model/layout.ts";
import { isSame, parseLayout, parseLayoutText, textOf } from "../src/model/layout-json.ts";
import { DEFAULT, fragment, parse } from "../src/model/view.ts";

const METRICS = ["lr", "train/acc", "train/loss", "train/loss10", "train/loss2", "val/loss"];
const shown = (layout: Layout, q = ""): Record<string, string[]> =>
  Object.fromEntries(
    arrange(METRICS, "first", layout, q).map(({ name, panels }) => [name, panels.map((panel) => panel.id)]),
  );
const panelOf = (layout: Layout, id: string) =>
  arrange(METRICS, "first", layout)
    .flatMap(({ panels, gone }) => [...panels, ...gone])
    .find((panel) => panel.id === id)!;

test("without changes, sections have their metrics in natural order", () => {
  assert.deepEqual(shown(AUTOMATIC), {
    "": ["lr"],
    train: ["train/acc", "train/loss", "train/loss2", "train/loss10"],
    val: ["val/loss"],
  });
  assert.equal(textOf(AUTOMATIC), "{}");
});

test("a moved panel stays where it was put, and new metrics find their places", () => {
  const layout = moved(AUTOMATIC, METRICS, "first", "train/loss10", {
    ...{ section: "train", beside: "train/acc", side: "before" },
  });
  assert.deepEqual(shown(layout)["train"], ["train/loss10", "train/acc", "train/loss", "train/loss2"]);
  assert.equal(textOf(layout), '{"order":{"train":["train/loss10"]}}');
  const more = arrange([...METRICS, "train/b"], "first", layout).find(({ name }) => name === "train");
  assert.deepEqual(more!.panels.map(({ id }) => id).slice(0, 3), ["train/loss10", "train/acc", "train/b"]);
  const back = moved(layout, METRICS, "first", "train/loss10", { section: "train", beside: null });
  assert.ok(isSame(back, AUTOMATIC));
});

test("panels of runs that are not drawn keep their places while others are moved", () => {
  const first = moved(AUTOMATIC, METRICS, "first", "train/loss10", {
    ...{ section: "train", beside: "train/acc", side: "before" },
  });
  const few = METRICS.filter((name) => name !== "train/loss10");
  const second = moved(first, few, "first", "train/loss2", { section: "train", beside: "train/loss", side: "before" });
  assert.deepEqual(shown(second)["train"], ["train/loss10", "train/acc", "train/loss2", "train/loss"]);
});

test("a panel goes to another section and back, and is never shown twice", () => {
  const there = moved(AUTOMATIC, METRICS, "first", "val/loss", {
    ...{ section: "train", beside: "train/acc", side: "after" },
  });
  assert.deepEqual(shown(there), {
    "": ["lr"],
    train: ["train/acc", "val/loss", "train/loss", "train/loss2", "train/loss10"],
  });
  const back = moved(there, METRICS, "first", "val/loss", { section: "val", beside: null });
  assert.ok(isSame(back, AUTOMATIC));
});

test("panels are resized within bounds, removed and put back", () => {
  const wide = resized(AUTOMATIC, panelOf(AUTOMATIC, "lr"), 9, 0);
  assert.deepEqual(panelOf(wide, "lr").change, { wide: 4 });
  assert.ok(isSame(resized(wide, panelOf(wide, "lr"), 1, 1), AUTOMATIC));
  const without = removed(wide, METRICS, "first", panelOf(wide, "lr"));
  assert.equal(shown(without)[""]!.length, 0);
  assert.ok(isSame(putBack(without, [panelOf(without, "lr")]), wide));
});

test("a copy is put behind its panel, has a name of its own, and goes for good", () => {
  const [layout, id] = duplicated(AUTOMATIC, METRICS, "first", "train", panelOf(AUTOMATIC, "train/acc"));
  assert.deepEqual(shown(layout)["train"]!.slice(0, 3), ["train/acc", id, "train/loss"]);
  assert.deepEqual(panelOf(layout, id).metrics, ["train/acc"]);
  const [twice, other] = duplicated(layout, METRICS, "first", "train", panelOf(layout, id));
  assert.notEqual(other, id);
  const once = removed(twice, METRICS, "first", panelOf(twice, id));
  const gone = removed(once, METRICS, "first", panelOf(once, other));
  assert.ok(isSame(gone, AUTOMATIC));
});

test("a panel has several metrics: those of a list, or all that match, and no more than can be drawn", () => {
  const [some, id] = added(AUTOMATIC, { section: "val", metrics: ["val/loss", "train/loss"] });
  assert.deepEqual(panelOf(some, id).metrics, ["val/loss", "train/loss"]);
  const match = withPanel(some, id, { section: "val", pattern: "/loss$" });
  assert.deepEqual(panelOf(match, id).metrics, ["train/loss", "val/loss"]);
  const many = Array.from({ length: 30 }, (_, i) => `layer/${i}/loss`);
  const placed = arrange(many, "first", match).find(({ name }) => name === "val")!.panels[0]!;
  assert.deepEqual([placed.metrics.length, placed.more], [20, 10]);
  assert.deepEqual(shown(match, "val/loss"), { val: ["val/loss", id] });
});

test("settings of a panel go before those of its section, and those before the page's", () => {
  let layout: Layout = { ...AUTOMATIC, all: { low: 0, high: 9 } };
  layout = withSection(layout, "train", { high: 5, log: true });
  layout = withPanel(layout, "train/acc", { settings: { log: false } });
  const section = arrange(METRICS, "first", layout).find(({ name }) => name === "train")!;
  assert.deepEqual(settingsOf(layout, section, panelOf(layout, "train/acc")), { low: 0, high: 5, log: false });
});

test("layouts read back from JSON and from a link, whatever the names are", () => {
  let layout = withPanel(AUTOMATIC, "__proto__", { wide: 2, settings: { axis: "metric:epoch", method: "ema" } });
  layout = withSection(layout, "a#&=ü", { low: -1.5 });
  assert.ok(isSame(parseLayoutText(textOf(layout))!, layout));
  const link = fragment({ layout });
  assert.ok(isSame(parse("", link).view.layout!, layout));
  assert.equal(fragment(DEFAULT), "");
  assert.deepEqual(parse("", "#layout=%7B").ignored, ["layout"]);
  assert.deepEqual(
    arrange(["__proto__", "panel:1", "metric:x"], "first", AUTOMATIC).flatMap(({ panels }) =>
      panels.map((one) => one.id),
    ),
    ["__proto__", "metric:metric:x", "metric:panel:1"],
  );
});

test("what makes no sense in a stored layout is left out", () => {
  const given = {
    panels: { a: { wide: 99, tall: 2, title: 7, settings: { weight: 3, axis: "up", log: "yes", low: 1 } }, b: null },
    order: { s: ["a", 1], t: "x" },
    sections: 3,
  };
  assert.equal(textOf(parseLayout(given)), '{"order":{"s":["a"]},"panels":{"a":{"settings":{"low":1},"tall":2}}}');
  for (const value of [null, 7, [], "x"]) assert.ok(isSame(parseLayout(value), AUTOMATIC));
});
