import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { timeLabels } from "../src/chart/labels.ts";
import { spans } from "../src/model/ansi.ts";
import { blobHref, itemsOf } from "../src/model/media.ts";
import { compareHref, placeOf, runHref, runsHref, sqlHref, workspaceHref } from "../src/model/place.ts";
import { arranged, cellText, parseTable } from "../src/model/table.ts";
import { csv } from "../src/parts/csv.ts";

test("addresses name their page, whatever the names have in them", () => {
  const [entity, project, run] = ["a b", "c/d", "ü?#%"];
  assert.deepEqual(placeOf("/"), { page: "projects" });
  assert.deepEqual(placeOf(workspaceHref(entity, project)), { page: "workspace", entity, project });
  assert.deepEqual(placeOf(runsHref(entity, project)), { page: "runs", entity, project });
  assert.deepEqual(placeOf(sqlHref(entity, project)), { page: "sql", entity, project });
  assert.deepEqual(placeOf(compareHref(entity, project)), { page: "compare", entity, project });
  assert.deepEqual(placeOf(runHref(entity, project, run)), { page: "run", entity, project, run, tab: "overview" });
  assert.deepEqual(placeOf(runHref(entity, project, run, "console")), {
    page: "run",
    entity,
    project,
    run,
    tab: "console",
  });
  for (const path of [
    "/team",
    "/a/b/c",
    "/a/b/sql/c",
    "/a/b/runs/x/nonsense",
    "/a/b/runs/x/console/more",
    "/%E0%A4%A",
    "/a//runs",
  ])
    assert.deepEqual(placeOf(path), { page: "unknown" }, path);
});

const SHA = "a".repeat(64);

test("logged media become what can be shown, with their captions", () => {
  const file = { sha256: SHA, path: "media/images/x_1.png", size: 3 };
  assert.deepEqual(itemsOf({ _type: "image-file", ...file, width: 4, height: 5, caption: "c" }), [
    { kind: "image", sha256: SHA, path: file.path, caption: "c", width: 4, height: 5, size: 3 },
  ]);
  const list = { _type: "images/separated", filenames: [file.path, file.path], files: [file], captions: ["a", "b"] };
  assert.deepEqual(
    itemsOf(list).map((item) => [item.kind, item.caption]),
    [
      ["image", "a"],
      ["image", "b"],
    ],
  );
  assert.deepEqual(
    itemsOf([{ _type: "table-file", ...file }, { _type: "html-file", ...file }, 3, "text"]).map((item) => item.kind),
    ["table", "html"],
  );
  assert.equal(blobHref({ sha256: SHA, path: "a/b c&d.svg" }), `/v1/blobs/${SHA}?name=b%20c%26d.svg`);
});

test("a hash that is none makes no link", () => {
  for (const sha256 of ["../../etc", "A".repeat(64), 7, undefined])
    assert.deepEqual(itemsOf({ _type: "image-file", sha256, path: "x.png" }), []);
});

test("printed lines keep their colours and lose every other sequence", () => {
  assert.deepEqual(spans("\u001b[1;31mred\u001b[0m plain"), [
    { text: "red", look: "a-bold a-red" },
    { text: " plain", look: "" },
  ]);
  assert.deepEqual(spans("10%\r 50%\r100%"), [{ text: "100%", look: "" }]);
  assert.deepEqual(spans("done\r"), [{ text: "done", look: "" }]);
  assert.deepEqual(
    spans("\u001b]8;;javascript:alert(1)\u0007link\u001b]8;;\u0007\u001b[2K\u001b[38;5;9mx").map((span) => span.text),
    ["link", "x"],
  );
  assert.deepEqual(spans(""), []);
});

test("a CSV quotes what it must and keeps formulas texts", () => {
  assert.equal(
    csv([
      ["a,b", 'say "x"', "=1+1", -1],
      [null, undefined, "line\nbreak", { a: 1 }],
    ]),
    '"a,b","say ""x""",\'=1+1,-1\r\n,,"line\nbreak","{""a"":1}"\r\n',
  );
});

test("labels of time are as fine as their distance", () => {
  assert.deepEqual(timeLabels([0, 0.2, 0.4], "relative"), ["0", "0.2 s", "0.4 s"]);
  assert.deepEqual(timeLabels([0, 1800, 3600], "relative"), ["0", "30 min", "1:00 h"]);
  assert.deepEqual(timeLabels([0, 7200], "relative"), ["0", "2 h"]);
  assert.deepEqual(timeLabels([0, 172_800], "relative"), ["0", "2 d"]);
});

test("the lock file holds hashes and no addresses to download from", () => {
  const lock = readFileSync(new URL("../package-lock.json", import.meta.url), "utf8");
  assert.ok(lock.includes('"integrity"'));
  assert.ok(!lock.includes('"resolved"'));
});

test("a logged table is sorted by numbers, filtered by words, and shows any cell", () => {
  const text =
    '{"columns": ["p", 2], "data": [["b", 2], ["a", {"_type": "float64", "value": "NaN"}], ["c <i>", 10], ["d", null]]}';
  const table = parseTable(text)!;
  assert.deepEqual(table.columns, ["p", "2"]);
  const firsts = (column: number | null, descending: boolean, query = ""): unknown[] =>
    arranged(table, query, column, descending).map((row) => row[0]);
  assert.deepEqual(firsts(1, true), ["c <i>", "b", "a", "d"]);
  assert.deepEqual(firsts(1, false), ["b", "c <i>", "a", "d"]);
  assert.deepEqual(firsts(0, true), ["d", "c <i>", "b", "a"]);
  assert.deepEqual(firsts(null, true, "nan"), ["a"]);
  assert.deepEqual([null, true, { _type: "image-file" }, [1], 0.5].map(cellText), [
    "",
    "true",
    "[image-file]",
    "[1]",
    "0.5",
  ]);
});

test("a file that is no table is none", () => {
  for (const text of ["", "[]", "null", '{"columns": [], "data": 3}', '{"columns": [], "data": [3]}'])
    assert.equal(parseTable(text), null, text);
});
