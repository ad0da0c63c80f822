import assert from "node:assert/strict";
import { test } from "node:test";
import { parsePast, shortQuery, withQuery } from "../src/model/history.ts";

test("a query that is run again moves to the front, and the oldest go", () => {
  const two = withQuery(withQuery([], "SELECT 1", 1), "SELECT 2", 2);
  assert.deepEqual(withQuery(two, "SELECT 1", 3), [
    { query: "SELECT 1", at: 3 },
    { query: "SELECT 2", at: 2 },
  ]);
  assert.equal(withQuery(two, " ", 3).length, 2);
  assert.equal(withQuery(two, "x".repeat(30_000), 3).length, 2);
  const many = Array.from({ length: 90 }, (_, i) => i).reduce((past, i) => withQuery(past, `SELECT ${i}`, i), two);
  assert.deepEqual([many.length, many[0]!.query], [50, "SELECT 89"]);
  assert.deepEqual(parsePast(JSON.stringify(many)), many);
});

test("what is no history is left out", () => {
  for (const text of [null, "", "{", "7", '[{"query": 1, "at": 2}, null]']) assert.deepEqual(parsePast(text), []);
  assert.equal(shortQuery(" SELECT 1,\n  2 "), "SELECT 1, 2");
});
