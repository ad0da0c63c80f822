import assert from "node:assert/strict";
import { test } from "node:test";
import { type Buckets, coarsen, empty } from "../src/model/buckets.ts";
import { suspects } from "../src/model/divergence.ts";

function points(values: readonly (readonly [number, number])[], origin = 0n): Buckets {
  const x = Float64Array.from(values, ([step]) => step);
  const y = Float64Array.from(values, ([, value]) => value);
  const finite = y.map((v) => (Number.isFinite(v) ? v : Number.NaN));
  return {
    ...empty(1, origin),
    ...{ start: x, firstStep: x, lastStep: x, first: y, last: y, min: finite, max: finite, mean: finite },
    count: new Float64Array(x.length).fill(1),
    odd: y.map((v) => (Number.isFinite(v) ? 0 : 1)),
  };
}

const line = (to: number, change: (step: number) => number): Buckets =>
  points(Array.from({ length: to }, (_, step) => [step, change(step)] as const));

test("equal series have no suspects, whatever the width of their buckets", () => {
  const a = line(100, Math.sin);
  assert.deepEqual(suspects(a, line(100, Math.sin), 9), []);
  assert.deepEqual(suspects(coarsen(a, 8), line(100, Math.sin), 9), []);
});

test("the first bucket that differs is found, then the step", () => {
  const [a, b] = [line(100, Math.sin), line(100, (step) => Math.sin(step) + (step >= 37 ? 1e-6 : 0))];
  const [wide] = suspects(coarsen(a, 8), coarsen(b, 8), 1);
  assert.deepEqual([wide!.from, wide!.to], [32n, 40n]);
  const [narrow] = suspects(a, b, 1);
  assert.deepEqual([narrow!.from, narrow!.to, narrow!.a], [37n, 38n, Math.sin(37)]);
});

test("steps behind the end of the shorter one do not count, a missing step does", () => {
  assert.deepEqual(suspects(line(10, Math.cos), line(20, Math.cos), 9), []);
  const gap = points([
    [0, 1],
    [2, 1],
  ]);
  const [found] = suspects(
    gap,
    line(3, () => 1),
    9,
  );
  assert.deepEqual([found!.from, found!.a, found!.b], [1n, Number.NaN, 1]);
  assert.deepEqual(suspects(gap, empty(), 9), []);
});

test("NaN equals NaN, and steps beyond what a float64 counts are compared by their distance", () => {
  const nan = [
    [0, Number.NaN],
    [1, 2],
  ] as const;
  assert.deepEqual(suspects(points(nan), points(nan), 9), []);
  const far = 2n ** 62n;
  const [found] = suspects(
    points(
      [
        [0, 1],
        [1, 2],
      ],
      far,
    ),
    points([[0, 3]], far + 1n),
    9,
  );
  assert.deepEqual([found!.from, found!.b], [far, Number.NaN]);
});
