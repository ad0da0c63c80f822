import assert from "node:assert/strict";
import { test } from "node:test";
import type { Json, Run } from "../src/data/api.ts";
import { difference, parts, shownOf, texts } from "../src/model/compare.ts";
import { flat } from "../src/model/values.ts";

const run = (id: string, config: Record<string, Json>, more: Partial<Run> = {}): Run => ({
  ...{ entity: "e", project: "p", id, display_name: id, state: "finished", created_at: "2026-01-01T00:00:00Z" },
  ...{
    finished_at: null,
    archived_at: null,
    heartbeat_at: null,
    exit_code: 0,
    last_step: 9,
    points: 10,
    objects: 0,
    rejected: 0,
  },
  ...{ writers: 1, parent: null, fork_step: null, notes: null, job_type: null, host: "h", username: null },
  ...{ duration_s: 5, slot: 0, group: null, tags: [], config, metadata: {}, ...more },
});

const A = { run: run("a", { optim: { lr: 0.1, name: "adamw" }, seed: 1, _wandb: 2 }), summary: { loss: 1, _step: 9 } };
const B = { run: run("b", { optim: { lr: 0.2, name: "adamw" }, seed: 1, extra: [1, 2] }), summary: { loss: 0.75 } };

test("rows in which runs differ come first, and a missing key is a difference", () => {
  const [config, summary, about] = parts([A, B]);
  assert.deepEqual(
    config!.rows.map((row) => [row.key, row.same]),
    [
      ["extra", false],
      ["optim.lr", false],
      ["optim.name", true],
      ["seed", true],
    ],
  );
  assert.equal(config!.differ, 2);
  assert.deepEqual(config!.rows[0]!.cells, [undefined, [1, 2]]);
  assert.deepEqual(
    summary!.rows.map((row) => row.key),
    ["loss"],
  );
  assert.deepEqual(
    about!.rows.filter((row) => !row.same).map((row) => row.key),
    ["id"],
  );
});

test("a search and the choice of differences leave some rows, below the titles of their parts", () => {
  const all = parts([A, B]);
  const keys = (query: string, same: boolean): string[] =>
    shownOf(all, query, same).map(({ part, row }) => row?.key ?? part.name);
  assert.deepEqual(keys("", false), ["Config", "extra", "optim.lr", "Summary", "loss", "Run", "id"]);
  assert.deepEqual(keys("OPTIM", true), ["Config", "optim.lr", "optim.name"]);
  assert.deepEqual(keys("optim.name", false), []);
});

test("runs that are equal have no differences but their ids", () => {
  const twin = { ...A, run: { ...A.run, id: "twin" } };
  assert.deepEqual(
    parts([A, twin]).map((part) => part.differ),
    [0, 0, 1],
  );
});

test("the order of the keys of an object, and 1 and 1.0, are no difference", () => {
  const [config] = parts([
    { run: run("a", { list: [{ x: 1, y: 2 }] }), summary: {} },
    { run: run("b", { list: [{ y: 2, x: 1.0 }] }), summary: {} },
  ]);
  assert.equal(config!.differ, 0);
});

test("values that differ never look the same", () => {
  assert.deepEqual(texts([0.1, 0.2]), ["0.1", "0.2"]);
  assert.deepEqual(texts([1.23456789, 1.23456788]), ["1.23456789", "1.23456788"]);
  assert.deepEqual(texts([0.5, 0.5, undefined]), ["0.5", "0.5", ""]);
});

test("the difference of a number to the first run's has a sign", () => {
  const cells = [1, 0.75, 1, "NaN", undefined, 1.5];
  assert.deepEqual(
    cells.map((_, i) => difference(cells, i)),
    ["", "−0.25", "", "", "", "+0.5"],
  );
});

test("nested values have dot paths, and W&B's {value} is left out", () => {
  assert.deepEqual(flat({ b: { value: 3 }, a: { x: { y: 1 }, e: {} }, m: { _type: "image-file" } }), [
    ["a.e", "{}"],
    ["a.x.y", 1],
    ["b", 3],
    ["m", "image-file"],
  ]);
});
