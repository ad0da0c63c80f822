import assert from "node:assert/strict";
import { test } from "node:test";
import * as format from "../src/model/format.ts";

test("values have five digits and never read 0.00", () => {
  const shown: [number, string][] = [
    [0, "0"],
    [2.98714, "2.9871"],
    [0.41271234, "0.41271"],
    [0.0012345, "0.0012345"],
    [0.00008412, "8.41e−5"],
    [-0.5316, "−0.5316"],
    [0.02, "0.02"],
    [1 / 3, "0.33333"],
    [131072, "131,072"],
    [12345.678, "12,346"],
    [-1234.5, "−1,234.5"],
    [1.99e9, "1,990,000,000"],
    [1.99e17, "1.99e17"],
    [Number.NaN, "NaN"],
    [-Infinity, "−∞"],
  ];
  for (const [given, wanted] of shown) assert.equal(format.value(given), wanted);
});

test("the exact value reads back bit for bit", () => {
  for (const v of [0.1, 2 / 3, 5e-324, 1.7976931348623157e308, -0, 1e21])
    assert.ok(Object.is(Number(format.exact(v)), v), String(v));
});

test("steps are exact at any size", () => {
  assert.equal(format.step(1284), "1,284");
  assert.equal(format.step(9223372036854775807n), "9,223,372,036,854,775,807");
});

test("counts, bytes and durations read as words", () => {
  assert.equal(format.count(20_317), "20,317");
  assert.equal(format.count(38_216_000), "38.2 M");
  assert.equal(format.counted(1, "line"), "1 line");
  assert.equal(format.counted(20_000, "run"), "20,000 runs");
  assert.equal(format.bytes(166_300_000), "166 MB");
  assert.equal(format.duration(0.42), "0.42 s");
  assert.equal(format.duration(38), "38 s");
  assert.equal(format.duration(59 * 60), "59 min");
  assert.equal(format.duration(3 * 3600 + 7 * 60), "3 h 07 min");
  assert.equal(format.duration(3600 - 1), "1 h 00 min");
  assert.equal(format.duration(50 * 3600), "2 d 2 h");
  assert.equal(format.duration(Number.NaN), "–");
});

test("labels of an axis are told apart", () => {
  assert.deepEqual(format.ticks([0, 5000, 10000]), ["0", "5k", "10k"]);
  assert.deepEqual(format.ticks([1_000_000_000, 1_000_000_001]), ["1,000,000,000", "1,000,000,001"]);
  assert.equal(format.tick(0.0006), "6e−4");
  assert.equal(format.tick(1.5e6), "1.5M");
});

test("a date of another year says so", () => {
  assert.match(format.when("2025-11-29T21:16:00", new Date("2026-11-30")), /29 Nov 2025, 21:16/);
  assert.equal(format.when("nonsense"), "–");
});
