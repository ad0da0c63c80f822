import assert from "node:assert/strict";
import { test } from "node:test";
import { heightOf, hits, type Input, linesOf, type Look, rangeOf } from "../src/chart/series.ts";
import { type Buckets, coarsen, empty } from "../src/model/buckets.ts";

const STEP: Look = { axis: "step", method: "none", weight: 0, log: false };

/** Single points at these steps. */
function points(steps: readonly number[], values: readonly number[], origin = 0n): Buckets {
  const [x, y] = [Float64Array.from(steps), Float64Array.from(values)];
  const finite = y.map((v) => (Number.isFinite(v) ? v : Number.NaN));
  return {
    ...empty(1, origin),
    ...{ start: x, firstStep: x, lastStep: x, first: y, last: y, min: finite, max: finite, mean: finite },
    count: new Float64Array(x.length).fill(1),
    odd: y.map((v) => (Number.isFinite(v) ? 0 : 1)),
    time: x.map((at) => 1000 + at * 10),
  };
}

const input = (run: string, overview: Buckets, fine: Buckets | null = null): Input => ({
  ...{ id: run, run, metric: "y", name: run, slot: 0, running: false, startedAt: 900, writers: ["0"] },
  ...{ overview, fine },
});

test("runs share one axis of steps, also far beyond what a float64 counts", () => {
  const far = 2n ** 62n;
  const lines = linesOf([input("a", points([0, 1], [1, 2], far)), input("b", points([0], [1], far + 5n))], STEP);
  assert.deepEqual(
    lines.map((line) => [...line.xm]),
    [[0, 1], [5]],
  );
  assert.deepEqual(rangeOf(lines), [0, 5]);
});

test("relative time counts from the start of each run", () => {
  const [line] = linesOf([input("a", points([0, 3], [1, 2]))], { ...STEP, axis: "relative" });
  assert.deepEqual([...line!.xm], [100, 130]);
});

test("the height holds every extreme within the window and none outside", () => {
  const lines = linesOf([input("a", points([0, 1, 2, 3], [100, 1, 2, -50]))], STEP);
  const [low, high] = heightOf(lines, 0.5, 2.5, false);
  assert.ok(low < 1 && low > 0.5 && high > 2 && high < 2.5);
  const [from, to] = heightOf(lines, 0, 3, true); // what is not positive has no place on a logarithmic axis
  assert.ok(from > 0 && from < 1 && to > 100);
});

test("zooming does not change the smoothed curve", () => {
  const steps = Array.from({ length: 4096 }, (_, i) => i);
  const fine = points(
    steps,
    steps.map((at) => Math.sin(at / 200) + ((at * 7919) % 13) / 50),
  );
  const overview = coarsen(fine, 32);
  const slice = (b: Buckets, from: number, to: number): Buckets =>
    Object.fromEntries(
      Object.entries(b).map(([name, value]) => [name, value instanceof Float64Array ? value.slice(from, to) : value]),
    ) as unknown as Buckets;
  for (const method of ["time", "gaussian", "average"] as const) {
    const look: Look = { ...STEP, method, weight: 0.9 };
    const [whole] = linesOf([input("a", overview)], look);
    const [zoomed] = linesOf([input("a", overview, slice(fine, 1024, 2048))], look);
    zoomed!.xm.forEach((x, i) => {
      if (i < 64 || i > 960 || i % 32 !== 16) return;
      const at = whole!.xm.findIndex((other) => other > x - 1);
      // A bucket counts where its middle is, so curves differ by half a bucket at most, which is a pixel: 16 steps here.
      assert.ok(Math.abs(whole!.smoothed[at]! - zoomed!.smoothed[i]!) < 16 / 200 + 0.01, `${method} at ${x}`);
    });
  }
});

test("the cursor finds logged points, and no run where it has none", () => {
  const lines = linesOf([input("a", points([0, 10, 20], [1, Number.NaN, 3])), input("b", points([0], [5]))], STEP);
  assert.deepEqual(
    hits(lines, 19, 2).map((hit) => [hit.line.run, hit.x, hit.y]),
    [["a", 20, 3]],
  );
  assert.deepEqual(
    hits(lines, 1, 2).map((hit) => hit.y),
    [1, 5],
  );
  assert.ok(Number.isNaN(hits(lines, 10, 2)[0]!.y));
});
