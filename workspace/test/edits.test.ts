import assert from "node:assert/strict";
import { test } from "node:test";
import type { Run } from "../src/data/api.ts";
import { changesOf, formOf, tagsOf, wrongWith } from "../src/model/edits.ts";

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
