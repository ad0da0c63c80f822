import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { BatchReader, batchLength, decodeBatch, floats, WireError } from "../src/model/wire.ts";

// Bytes that Python wrote; tests/wire pins them.
const GOLDEN = Uint8Array.from(
  Buffer.from(
    readFileSync(new URL("../../tests/wire/golden/columns.hex", import.meta.url), "utf8").replaceAll(/#.*|\s/gu, ""),
    "hex",
  ),
);

test("a batch that Python wrote decodes to the same columns", () => {
  const batch = decodeBatch(GOLDEN);
  assert.equal(batchLength(GOLDEN), GOLDEN.byteLength);
  assert.ok(batch.columns.length > 0);
  for (const column of batch.columns) assert.equal(column.values.length, column.rows?.length ?? batch.rows);
});

test("a stream that is cut anywhere gives the same batches", () => {
  const twice = new Uint8Array([...GOLDEN, ...GOLDEN]);
  for (const size of [1, 7, 24, 100, twice.byteLength]) {
    const reader = new BatchReader();
    const found = [];
    for (let at = 0; at < twice.byteLength; at += size) found.push(...reader.push(twice.slice(at, at + size)));
    reader.end();
    assert.deepEqual(found, [decodeBatch(GOLDEN), decodeBatch(GOLDEN)], `pieces of ${size}`);
  }
});

test("a stream that ends inside a batch says so", () => {
  const reader = new BatchReader();
  assert.deepEqual(reader.push(GOLDEN.slice(0, -1)), []);
  assert.throws(() => reader.end(), WireError);
});

test("any flipped byte of head or body is found", () => {
  for (let at = 0; at < GOLDEN.byteLength; at += 1) {
    const bad = GOLDEN.slice();
    bad[at]! ^= 0x40;
    if (at === 6 || at === 7) continue; // reserved
    assert.throws(() => decodeBatch(bad), WireError, `byte ${at}`);
  }
});

test("a column that lacks rows is spread with zeros", () => {
  const batch = {
    head: {},
    rows: 4,
    columns: [{ name: "odd", values: Int32Array.of(3, 5), rows: Int32Array.of(1, 3) }],
  };
  assert.deepEqual(floats(batch, "odd"), Float64Array.of(0, 3, 0, 5));
  assert.equal(floats(batch, "no such"), null);
});
