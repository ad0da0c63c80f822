import assert from "node:assert/strict";
import { test } from "node:test";
import type { Run } from "../src/data/api.ts";
import { fieldOf, filterOf, type Group, linesOf, meanText, meanTitle, titleOf } from "../src/model/groups.ts";

const group = (by: Group["by"], runs: number): Group => ({ by, runs, filters: '{"a":1}', means: {} });
const run = (id: string): Run => ({ id }) as Run;

test("open groups show their runs, and what of them has not been read", () => {
  const groups = [group(["muon", 768], 2), group([null, 768], 3), group(["adamw", 1], 4)];
  const runs = new Map([
    ['["muon",768]', [run("a"), run("b")]],
    ["[null,768]", [run("c")]],
  ]);
  const lines = linesOf(groups, new Set(runs.keys()), (key) => runs.get(key) ?? []);
  assert.deepEqual(
    lines.map((line) =>
      line.kind === "run" ? line.run.id : line.kind === "more" ? line.missing : titleOf(line.group),
    ),
    ["muon, 768", "a", "b", "none, 768", "c", 2, "adamw, 1"],
  );
  assert.equal(new Set(lines.map((line) => line.key)).size, lines.length);
});

test("a mean has its deviation, and says of how many runs it is", () => {
  const mean = { mean: 3.04123456, deviation: 0.0912, runs: 3 };
  assert.equal(meanText(mean), "3.0412 ± 0.091");
  assert.equal(meanText({ mean: -2, deviation: null, runs: 1 }), "−2");
  assert.equal(meanText(undefined), "");
  assert.equal(meanTitle(mean, group(["x"], 4)), "3.04123456, of 3 runs");
  assert.equal(meanTitle(mean, group(["x"], 3)), "3.04123456");
});

test("columns become the server's fields, and filters are joined as they are", () => {
  assert.deepEqual(["summary.train/loss", "config.lr", "state"].map(fieldOf), [
    "summary_metrics.train/loss",
    "config.lr",
    "state",
  ]);
  assert.equal(filterOf(group([1], 1), null), '{"a":1}');
  assert.deepEqual(JSON.parse(filterOf(group([1], 1), '{"b":2}')), { $and: [{ b: 2 }, { a: 1 }] });
});
