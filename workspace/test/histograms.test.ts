import assert from "node:assert/strict";
import { test } from "node:test";
import { heatMap, histogramOf, rebinned, spread, total, valueRange } from "../src/model/histograms.ts";

const of = (values: number[], bins: number[]) => histogramOf({ _type: "histogram", values, bins })!;

test("only valid histograms are drawn", () => {
  assert.deepEqual(of([1, 2], [0, 1, 2]), { counts: [1, 2], edges: [0, 1, 2] });
  for (const wrong of [
    null,
    3,
    {},
    { _type: "histogram" },
    { _type: "histogram", values: [], bins: [0] },
    { _type: "histogram", values: [1], bins: [0] },
    { _type: "histogram", values: [-1], bins: [0, 1] },
    { _type: "histogram", values: ["1"], bins: [0, 1] },
    { _type: "histogram", values: [1], bins: [1, 0] },
    { _type: "table-file", values: [1], bins: [0, 1] },
  ])
    assert.equal(histogramOf(wrong), null, JSON.stringify(wrong));
});

test("the range leaves out empty bins at the ends", () => {
  assert.deepEqual(valueRange([of([0, 1, 0, 2, 0], [0, 1, 2, 3, 4, 5]), of([4], [2.5, 3])]), [1, 4]);
  assert.equal(valueRange([of([0, 0], [0, 1, 2])]), null);
  assert.equal(spread(of([0, 1, 0, 2, 0], [0, 1, 2, 3, 4, 5])), 3);
  assert.deepEqual(valueRange([of([5], [2, 2])]), [1.9, 2.1]);
});

test("values keep their number in bins of another width", () => {
  assert.deepEqual([...rebinned(of([4], [0, 2]), [0, 4], 4)], [2, 2, 0, 0]);
  assert.deepEqual([...rebinned(of([1, 1, 1, 1], [0, 1, 2, 3, 4]), [0, 4], 2)], [2, 2]);
  assert.deepEqual([...rebinned(of([7], [4, 4]), [0, 4], 2)], [0, 7]);
  const uneven = of([3, 5, 11], [-1, 0.3, 0.4, 9]);
  const sum = rebinned(uneven, [-1, 9], 17).reduce((so, count) => so + count, 0);
  assert.ok(Math.abs(sum - total(uneven)) < 1e-9);
});

test("a heat map has a column for each step, as shares", () => {
  const map = heatMap(
    [
      { step: 5, histogram: of([1, 3], [0, 1, 2]) },
      { step: 1, histogram: of([2], [0, 1]) },
      { step: 5, histogram: of([2, 2], [0, 1, 2]) },
    ],
    2,
  )!;
  assert.deepEqual(
    [map.range, map.steps],
    [
      [0, 2],
      [1, 5],
    ],
  );
  assert.deepEqual(
    map.shares.map((column) => [...column]),
    [
      [1, 0],
      [0.375, 0.625],
    ],
  );
  assert.equal(map.most, 1);
  assert.equal(heatMap([], 2), null);
});
