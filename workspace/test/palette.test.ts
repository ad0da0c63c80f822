import assert from "node:assert/strict";
import { test } from "node:test";
import { fit, found, type Target } from "../src/model/palette.ts";
import { parseSaved } from "../src/model/saved.ts";

const target = (kind: Target["kind"], title: string, more = ""): Target => ({ kind, title, more, href: `/${title}` });

test("a name fits better from its start, then from the start of a word", () => {
  assert.ok(fit("loss", "loss") > fit("loss/train", "loss"));
  assert.ok(fit("loss/train", "loss") > fit("train/loss", "loss"));
  assert.ok(fit("train/loss", "loss") > fit("glossy", "loss"));
  assert.equal(fit("train/loss", "acc"), 0);
  assert.ok(fit("train/loss", "LOSS tr") > 0);
});

test("what fits comes by kind, the kind with the best one first", () => {
  const targets = [
    target("Page", "Runs"),
    target("Metric", "eval/loss"),
    target("Metric", "loss"),
    target("Run", "lossless-1", "x1"),
    ...Array.from({ length: 20 }, (_, i) => target("Metric", `layer${i}/loss`)),
  ];
  const names = found(targets, "loss").map(({ title }) => title);
  assert.deepEqual(names.slice(0, 2), ["loss", "eval/loss"]);
  assert.equal(names.length, 9);
  assert.equal(names.at(-1), "lossless-1");
  assert.deepEqual(
    found(targets, "x1").map(({ title }) => title),
    ["lossless-1"],
  );
  assert.deepEqual(found(targets, "nothing"), []);
});

test("saved views of an earlier version read back, and what is no view is left out", () => {
  const views = [{ name: "A", page: "workspace", query: "?log=1" }];
  assert.deepEqual(parseSaved(JSON.stringify(views)), [{ ...views[0], layout: null }]);
  const bad = '[{"name": "x", "page": "runs", "query": "//evil"}, {"name": 3}, null, {"page": "sql"}]';
  assert.deepEqual(parseSaved(bad), []);
  for (const text of [null, "", "{", "{}", "7"]) assert.deepEqual(parseSaved(text), []);
});
