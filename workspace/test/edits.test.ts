import assert from "node:assert/strict";
import { test } from "node:test";
import type { Run } from "../src/data/api.ts";
import { changesOf, formOf, retagged, tagCounts, tagsOf, wrongWith } from "../src/model/edits.ts";
import { sent } from "../src/model/filter.ts";

const RUN = { display_name: "first try", tags: ["a", "b c"], notes: null } as unknown as Run;

test("a form that nobody touched changes nothing", () => {
  assert.deepEqual(changesOf(RUN, formOf(RUN)), {});
});

test("only what differs is sent", () => {
  assert.deepEqual(changesOf(RUN, { ...formOf(RUN), tags: " b c ,a, a,," }), { tags: ["b c", "a"] });
  assert.deepEqual(changesOf(RUN, { ...formOf(RUN), notes: "line\n" }), { notes: "line\n" });
  assert.deepEqual(changesOf({ ...RUN, notes: "x" }, { ...formOf(RUN), name: " second " }), {
    name: "second",
    notes: null,
  });
});

test("a form says what is wrong before it is sent", () => {
  assert.equal(wrongWith(formOf(RUN)), "");
  assert.match(wrongWith({ ...formOf(RUN), name: "  " }), /name/u);
  assert.match(wrongWith({ ...formOf(RUN), tags: "é".repeat(65) }), /64 characters/u);
  assert.deepEqual(tagsOf(""), []);
});

test("many runs get tags and lose others, and those that have them so already are left alone", () => {
  assert.deepEqual(retagged(RUN, ["c", "a"], []), { tags: ["a", "b c", "c"] });
  assert.deepEqual(retagged(RUN, [], ["a"]), { tags: ["b c"] });
  assert.equal(retagged(RUN, ["a"], ["z"]), null);
  assert.deepEqual(tagCounts([RUN, { ...RUN, tags: ["z", "b c"] }]), [
    ["b c", 2],
    ["a", 1],
    ["z", 1],
  ]);
});

test("archived runs are left out of every list that does not ask for them", () => {
  assert.equal(sent(null, true), null);
  assert.equal(sent({ state: "running" }, true), '{"state":"running"}');
  assert.equal(sent(null, false), '{"archived_at":{"$exists":false}}');
  assert.equal(sent({ $or: [] }, false), '{"$and":[{"archived_at":{"$exists":false}},{"$or":[]}]}');
});
