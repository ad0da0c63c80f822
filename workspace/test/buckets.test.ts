import assert from "node:assert/strict";
import { test } from "node:test";
import { type Buckets, coarsen, empty, fidelity, lowerBound, nearest, totals, withTail } from "../src/model/buckets.ts";
import { exponential, METHODS, smooth, timeWeighted } from "../src/model/smoothing.ts";

/** Pseudo-random numbers that are the same on every run. */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Buckets of given points, made point by point: what the merge must equal. */
function bucketsOf(points: readonly (readonly [number, number])[], width: number, origin = 0n): Buckets {
  const groups = new Map<number, (readonly [number, number])[]>();
  for (const point of points) {
    const at = Number(((BigInt(point[0]) + origin) / BigInt(width)) * BigInt(width) - origin);
    groups.set(at, [...(groups.get(at) ?? []), point]);
  }
  const rows = [...groups].toSorted((a, b) => a[0] - b[0]);
  const column = (of: (group: (readonly [number, number])[]) => number): Float64Array =>
    Float64Array.from(rows, ([, group]) => of(group));
  const finite = (group: (readonly [number, number])[]): number[] =>
    group.map(([, y]) => y).filter((y) => Number.isFinite(y));
  const orNaN = (group: (readonly [number, number])[], of: (ys: number[]) => number): number =>
    finite(group).length > 0 ? of(finite(group)) : Number.NaN;
  return {
    ...empty(width, origin),
    start: Float64Array.from(rows, ([at]) => at),
    count: column((group) => group.length),
    min: column((group) => orNaN(group, (ys) => Math.min(...ys))),
    max: column((group) => orNaN(group, (ys) => Math.max(...ys))),
    mean: column((group) => orNaN(group, (ys) => ys.reduce((a, y) => a + y, 0) / ys.length)),
    first: column((group) => group[0]![1]),
    last: column((group) => group.at(-1)![1]),
    firstStep: column((group) => group[0]![0]),
    lastStep: column((group) => group.at(-1)![0]),
    odd: column((group) => group.length - finite(group).length),
  };
}

function points(seed: number, length: number): [number, number][] {
  const random = numbers(seed);
  let step = Math.floor(random() * 100);
  return Array.from({ length }, () => {
    step += 1 + Math.floor(random() * 5);
    return [step, random() < 0.05 ? Number.NaN : random() < 0.02 ? Infinity : Math.round(random() * 1000) / 8];
  });
}

test("merging buckets is the same as making wider ones of the points", () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    const given = points(seed, 300);
    const origin = seed % 2 === 0 ? 0n : 2n ** 60n + 3n;
    for (const width of [2, 8, 64, 4096])
      assert.deepEqual(coarsen(bucketsOf(given, 1, origin), width), bucketsOf(given, width, origin), `seed ${seed}`);
  }
});

test("a tail replaces what it covers, also when it is finer", () => {
  const given = points(7, 400);
  const whole = bucketsOf(given, 32);
  const cut = whole.start[Math.floor(whole.start.length / 2)]!;
  const early = bucketsOf(
    given.filter(([step]) => step < cut + 5),
    32,
  );
  const late = bucketsOf(
    given.filter(([step]) => step >= cut),
    4,
  );
  assert.deepEqual(withTail(early, late), whole);
  assert.deepEqual(withTail(empty(), late), late);
  assert.deepEqual(withTail(early, empty()), early);
});

test("with several writers the one with the extreme value stays named", () => {
  const b: Buckets = {
    ...bucketsOf(
      [
        [0, 1],
        [1, 9],
        [2, 3],
        [3, 0],
      ],
      1,
    ),
    minWriter: Int32Array.of(5, 6, 7, 8),
    maxWriter: Int32Array.of(5, 6, 7, 8),
  };
  const merged = coarsen(b, 4);
  assert.deepEqual([merged.minWriter![0], merged.maxWriter![0]], [8, 6]);
});

test("the nearest bucket is found at both ends and between", () => {
  const x = Float64Array.of(0, 10, 20);
  assert.deepEqual(
    [-5, 4, 5, 6, 99].map((at) => nearest(x, at)),
    [0, 0, 0, 1, 2],
  );
  assert.equal(nearest(new Float64Array(0), 1), -1);
  assert.equal(lowerBound(x, 10), 1);
});

test("the badge says how exact the picture is", () => {
  const say = String;
  assert.equal(fidelity(812, 812, say), "all 812 points");
  assert.equal(fidelity(150, 20_000, say), "150 buckets of 20000, extremes exact");
  assert.equal(fidelity(1, 1, say), "1 point");
  assert.equal(fidelity(0, 0, say), "no points");
  assert.deepEqual(totals(bucketsOf([[0, Number.NaN]], 1)), { buckets: 1, points: 1, odd: 1 });
});

const asPoints = (b: Buckets): { x: Float64Array; mean: Float64Array; count: Float64Array } => ({
  x: b.start,
  mean: b.mean,
  count: b.count,
});

test("smoothing of buckets is close to smoothing of points, so zooming does not change the curve", () => {
  const random = numbers(3);
  const given = Array.from({ length: 4096 }, (_, i): [number, number] => [i, Math.sin(i / 300) + random() * 0.2]);
  const fine = bucketsOf(given, 1);
  const coarse = coarsen(fine, 16);
  for (const method of METHODS.filter((name) => name !== "none")) {
    const weight = method === "ema" ? 0.99 : 0.9;
    const [a, b] = [smooth(asPoints(fine), method, weight, 4096), smooth(asPoints(coarse), method, weight, 4096)];
    coarse.start.forEach((at, i) => {
      if (i < 16) return;
      assert.ok(Math.abs(a[Math.min(4095, at + 8)]! - b[i]!) < 0.05, `${method} at ${at}: ${a[at]} and ${b[i]}`);
    });
  }
});

test("a constant stays itself, and values stay inside the data", () => {
  const flat = asPoints(
    bucketsOf(
      Array.from({ length: 50 }, (_, i) => [i * 3, 7]),
      1,
    ),
  );
  const rough = bucketsOf(points(5, 200), 1);
  const finite = rough.mean.filter((y) => Number.isFinite(y));
  for (const method of METHODS) {
    for (const y of smooth(flat, method, 0.9, 150)) assert.ok(Math.abs(y - 7) < 1e-12, method);
    for (const y of smooth(asPoints(rough), method, 0.9, 600))
      assert.ok(Number.isNaN(y) || (y >= Math.min(...finite) - 1e-9 && y <= Math.max(...finite) + 1e-9), method);
  }
});

test("NaN gives no value and does not poison what follows", () => {
  const b = asPoints(
    bucketsOf(
      [
        [0, 1],
        [1, Number.NaN],
        [2, 3],
      ],
      1,
    ),
  );
  for (const method of METHODS) {
    const out = smooth(b, method, 0.5, 2);
    assert.ok(Number.isNaN(out[1]!) && Number.isFinite(out[2]!), method);
  }
});

test("the formulas are those that are documented", () => {
  const b = {
    x: Float64Array.of(0, 10, 30),
    mean: Float64Array.of(1, 2, 4),
    count: Float64Array.of(1, 1, 1),
  };
  // TensorBoard: last = last·w + (1 − w)·y, divided by 1 − w^n.
  assert.deepEqual(
    [...exponential(b, 0.5)].map((y) => Math.round(y * 1e9) / 1e9),
    [1, 1.666666667, 3],
  );
  // W&B: w = √s; each step decays by w^(1000·Δx/range).
  const w = Math.sqrt(0.9);
  const [d1, d2] = [w ** (10_000 / 30_000), w ** (20_000 / 30_000)];
  const wanted = (1 * d1 * d2 + 2 * d2 + 4) / (d1 * d2 + d2 + 1);
  assert.ok(Math.abs(timeWeighted(b, 0.9, 30_000)[2]! - wanted) < 1e-12);
});
