import assert from "node:assert/strict";
import { test } from "node:test";
import { cellTexts, choose, quoted, type Result, starter, traces } from "../src/model/result.ts";

const COLUMNS = [
  { name: "run", type: "text" },
  { name: "step", type: "int8" },
  { name: "value", type: "float8" },
  { name: "at", type: "timestamptz" },
];
const result = (columns: Result["columns"], ...rows: unknown[][]): Result => ({
  columns,
  rows,
  truncated: false,
  elapsed_ms: 1,
});

test("a chart takes the step, the next number and the text, until the reader chooses", () => {
  const found = result(COLUMNS, ["a", 0, 1.5, "2026-01-02T03:04:05+00:00"]);
  assert.deepEqual(choose(found, null), { x: 1, y: 2, by: 0 });
  assert.deepEqual(choose(found, ["at", "step"]), { x: 3, y: 1, by: null });
  assert.deepEqual(choose(found, ["at", "value", "run"]), { x: 3, y: 2, by: 0 });
  assert.deepEqual(choose(found, ["gone", "run"]), { x: 1, y: 2, by: null }); // a link to another result
});

test("a result without two columns to draw has no chart", () => {
  assert.equal(choose(result(COLUMNS), null), null);
  assert.equal(choose(result([COLUMNS[0]!, COLUMNS[2]!], ["a", 1]), null), null);
  assert.equal(choose(result([COLUMNS[0]!], ["a"]), null), null);
});

test("rows become one line for each value, ordered by x, with the words that JSON numbers cannot say", () => {
  const rows = [
    ["b", 2, 5],
    ["a", 1, "NaN"],
    ["a", 0, "-Infinity"],
    ["a", "9007199254740993", 7],
    ["a", null, 1],
    ["a", 3, null],
  ];
  const found = traces(result(COLUMNS.slice(0, 3), ...rows), { x: 1, y: 2, by: 0 });
  assert.deepEqual(
    found.map(({ name, x, y }) => [name, [...x], [...y]]),
    [
      ["b", [2], [5]],
      ["a", [0, 1, 9007199254740992], [-Infinity, Number.NaN, 7]],
    ],
  );
});

test("cells are short to read and whole to copy", () => {
  const [text, int, float, time] = COLUMNS as [(typeof COLUMNS)[0], ...typeof COLUMNS];
  assert.deepEqual(cellTexts(int!, 1234567), { shown: "1,234,567", full: "1234567" });
  assert.deepEqual(cellTexts(float!, 0.1234567891), { shown: "0.12346", full: "0.1234567891" });
  assert.deepEqual(cellTexts(text, null), { shown: "", full: "NULL" });
  assert.deepEqual(cellTexts({ name: "config", type: "jsonb" }, { lr: [1] }), {
    shown: '{"lr":[1]}',
    full: '{"lr":[1]}',
  });
  assert.equal(cellTexts(time!, "2026-01-02T03:04:05+00:00").shown, "2026-01-02T03:04:05+00:00");
});

test("names in the first query are quoted", () => {
  assert.equal(quoted("it's"), "'it''s'");
  assert.match(starter("a", "o'b"), /project = 'o''b'/u);
});
