import assert from "node:assert/strict";
import { test } from "node:test";
import { type Input, linesOf } from "../src/chart/series.ts";
import { along, ascending } from "../src/model/along.ts";
import { type Buckets, coarsen, empty, withTail } from "../src/model/buckets.ts";
import { metricOf, parse, query } from "../src/model/view.ts";

function points(steps: readonly number[], values: readonly number[], origin = 0n): Buckets {
  const [x, y] = [Float64Array.from(steps), Float64Array.from(values)];
  return {
    ...empty(1, origin),
    ...{ start: x, firstStep: x, lastStep: x, first: y, last: y, min: y, max: y, mean: y },
    count: new Float64Array(x.length).fill(1),
    odd: new Float64Array(x.length),
  };
}

test("each point is placed at the last value of the other metric at or before its step", () => {
  const joined = along(points([0, 2, 4, 6], [10, 20, 30, 40]), points([2, 3, 6], [0.2, 0.3, 0.6]));
  assert.deepEqual([...joined.along!], [0.2, 0.3, 0.6]);
  assert.deepEqual([...joined.mean], [20, 30, 40]);
  assert.equal(along(points([0], [1]), points([1], [1])).start.length, 0);
  assert.equal(along(points([0], [1]), points([0], [Number.NaN])).start.length, 0);
});

test("within a bucket of the other metric, a point lies between its first and its last value", () => {
  const y = points([0, 1, 2, 3, 9], [5, 9, 1, 2, 3]);
  const x = coarsen(points([0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 4, 5, 6, 7]), 4);
  const joined = along(y, x);
  assert.deepEqual([...joined.along!], [0, 1, 2, 3, 7]);
  assert.equal(joined.width, 1);
  assert.deepEqual([...coarsen(joined, 2).along!], [0.5, 2.5, 7]);
});

test("steps beyond what a float64 counts are joined by their distance", () => {
  const far = 2n ** 62n;
  const joined = along(points([0, 1], [1, 2], far), points([0], [7], far + 1n));
  assert.deepEqual([[...joined.mean], [...joined.along!]], [[2], [7]]);
});

test("a tail brings its places along", () => {
  const [y, x] = [points([0, 1, 2], [1, 2, 3]), points([0, 1, 2], [10, 20, 30])];
  const tail = along(points([2, 3], [3.5, 4]), points([2, 3], [30, 40]));
  assert.deepEqual([...withTail(along(y, x), tail).along!], [10, 20, 30, 40]);
});

test("a metric that goes back is drawn in the order of its values", () => {
  const back = along(points([0, 1, 2], [1, 2, 3]), points([0, 1, 2], [0.5, 0.1, 0.3]));
  assert.deepEqual([...ascending(back).mean], [2, 3, 1]);
  const input: Input = {
    ...{ id: "a", run: "a", metric: "y", name: "a", slot: 0, running: false, startedAt: 0, writers: ["0"] },
    ...{ overview: back, fine: null },
  };
  const [line] = linesOf([input], { axis: "metric:x", method: "time", weight: 0.5, log: false });
  assert.deepEqual([...line!.xm], [0.1, 0.3, 0.5]);
  assert.equal(line!.smoothed.length, 3);
});

test("the metric of the axis is in the link", () => {
  const { view, ignored } = parse("?x=metric:train/epoch&w=0.5");
  assert.deepEqual([view.axis, metricOf(view.axis), ignored], ["metric:train/epoch", "train/epoch", []]);
  assert.equal(query(view), "?x=metric%3Atrain%2Fepoch&w=0.5");
  assert.deepEqual(parse("?x=metric:").ignored, ["x=metric:"]);
});
