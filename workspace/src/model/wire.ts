// Decodes the batches in which the server sends columns (docs/column-format.md) into views of their bytes. Pure.
// sdk/stepwell/wire/columns.py describes the layout; tests read bytes that Python wrote.

export const HEADER_BYTES = 24;
const MAGIC = 0x42435753; // "SWCB", little-endian
const VERSION = 1;
const MAX_BATCH_BYTES = 2 ** 30;

export type Numbers = Float64Array | BigInt64Array | Int32Array;

export interface Column {
  name: string;
  /** Numbers are views of the received bytes; texts are unparsed JSON. */
  values: Numbers | string[];
  /** The row of each value, ascending. Without it, value i is in row i. */
  rows?: Int32Array;
}

export interface Batch {
  head: Record<string, unknown>;
  rows: number;
  columns: Column[];
}

/** The answer is damaged, cut off, or of another version. */
export class WireError extends Error {
  override name = "WireError";
}

/** The length in bytes of the batch that begins here, or 0 while its header is incomplete. */
export function batchLength(bytes: Uint8Array): number {
  if (bytes.byteLength < HEADER_BYTES) return 0;
  const view = new DataView(bytes.buffer, bytes.byteOffset, HEADER_BYTES);
  if (view.getUint32(0, true) !== MAGIC) throw new WireError("the answer is not a batch of columns");
  const version = view.getUint16(4, true);
  if (version !== VERSION) throw new WireError(`columns of version ${version} are not known here; reload the page`);
  const head = view.getUint32(8, true);
  const body = Number(view.getBigUint64(16, true));
  const length = HEADER_BYTES + padded(head) + body;
  if (body % 8 !== 0 || length > MAX_BATCH_BYTES)
    throw new WireError(`a batch is damaged: its header claims ${length} bytes`);
  return length;
}

/** Decodes one whole batch. `bytes` must begin at a multiple of 8 of its buffer, so that columns can be views. */
export function decodeBatch(bytes: Uint8Array): Batch {
  if (bytes.byteOffset % 8 !== 0) bytes = bytes.slice();
  if (bytes.byteLength < HEADER_BYTES || batchLength(bytes) !== bytes.byteLength)
    throw new WireError("a batch is cut off");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const headBytes = view.getUint32(8, true);
  if (crc32(bytes.subarray(HEADER_BYTES)) !== view.getUint32(12, true))
    throw new WireError("a batch is damaged: its checksum is wrong");
  const body = bytes.subarray(HEADER_BYTES + padded(headBytes));
  const { columns, rows, ...head } = JSON.parse(text(bytes.subarray(HEADER_BYTES, HEADER_BYTES + headBytes)));
  if (!Array.isArray(columns) || !Number.isSafeInteger(rows)) throw new WireError("a batch is damaged: its head");
  return { head, rows, columns: columns.map((item) => column(item, body, rows)) };
}

/** Joins the pieces of a stream into batches; a piece may end anywhere. */
export class BatchReader {
  #held: Uint8Array = new Uint8Array(0);

  /** The batches that are complete now. */
  push(piece: Uint8Array): Batch[] {
    if (this.#held.byteLength === 0) this.#held = piece;
    else {
      const joined = new Uint8Array(this.#held.byteLength + piece.byteLength);
      joined.set(this.#held);
      joined.set(piece, this.#held.byteLength);
      this.#held = joined;
    }
    const found: Batch[] = [];
    for (;;) {
      const length = batchLength(this.#held);
      if (length === 0 || this.#held.byteLength < length) return found;
      found.push(decodeBatch(this.#held.slice(0, length)));
      this.#held = this.#held.subarray(length);
    }
  }

  /** Throws when the stream has ended in the middle of a batch. */
  end(): void {
    if (this.#held.byteLength > 0) throw new WireError("the answer was cut off");
  }
}

/** A column of numbers as float64; int64 beyond 2^53 are rounded. Null when the batch does not have it. */
export function floats(batch: Batch, name: string): Float64Array | null {
  const found = batch.columns.find((item) => item.name === name);
  if (found === undefined || Array.isArray(found.values)) return null;
  const dense = found.values instanceof Float64Array ? found.values : Float64Array.from(found.values, Number);
  if (found.rows === undefined) return dense;
  const spread = new Float64Array(batch.rows);
  found.rows.forEach((row, i) => (spread[row] = dense[i]!));
  return spread;
}

interface Described {
  name: string;
  dtype: string;
  length: number;
  data: number;
  texts?: number;
  rows?: number;
}

function column(item: Described, body: Uint8Array, rows: number): Column {
  const at = item.rows === undefined ? undefined : (buffer(body, item.rows, item.length, "<i4") as Int32Array);
  if (at === undefined && item.length !== rows)
    throw new WireError(`column ${item.name} has ${item.length} values for ${rows} rows`);
  if (at?.some((row, i) => row < 0 || row >= rows || (i > 0 && row <= at[i - 1]!)))
    throw new WireError(`the rows of column ${item.name} are out of order`);
  const values =
    item.dtype === "json"
      ? texts(item, buffer(body, item.data, item.length + 1, "<i8") as BigInt64Array, body)
      : buffer(body, item.data, item.length, item.dtype);
  return at === undefined ? { name: item.name, values } : { name: item.name, values, rows: at };
}

function texts(item: Described, ends: BigInt64Array, body: Uint8Array): string[] {
  const start = item.texts ?? 0;
  const cuts = Array.from(ends, (end) => start + Number(end));
  if (ends[0] !== 0n || cuts.some((cut, i) => cut > body.byteLength || (i > 0 && cut < cuts[i - 1]!)))
    throw new WireError(`the texts of column ${item.name} extend beyond the body`);
  return cuts.slice(1).map((cut, i) => text(body.subarray(cuts[i], cut)));
}

function buffer(body: Uint8Array, at: number, count: number, dtype: string): Numbers {
  const size = dtype === "<i4" ? 4 : 8;
  if (at % 8 !== 0 || at < 0 || count < 0 || at + size * count > body.byteLength)
    throw new WireError(`a buffer of ${count} ${dtype} at ${at} lies outside`);
  const offset = body.byteOffset + at;
  const raw = body.buffer as ArrayBuffer;
  if (dtype === "<f8") return new Float64Array(raw, offset, count);
  if (dtype === "<i8") return new BigInt64Array(raw, offset, count);
  if (dtype === "<i4") return new Int32Array(raw, offset, count);
  throw new WireError(`a column has the type ${dtype}`);
}

const padded = (length: number): number => length + ((8 - (length % 8)) % 8);
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 0xff]! ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}
