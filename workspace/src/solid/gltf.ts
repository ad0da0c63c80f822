// The reader of glTF, as JSON or binary. It fetches nothing: what the file names beside itself is not there. Pure.

import { Builder, GREY, type Shape, ShapeError } from "./shape.ts";

type Fields = Record<string, unknown>;
type Matrix = readonly number[];

const MAGIC = 0x46546c67;
const JSON_CHUNK = 0x4e4f534a;
const DEEPEST = 64;
const MOST_NODES = 100_000;
const SIZES: Record<number, number> = { 5120: 1, 5121: 1, 5122: 2, 5123: 2, 5125: 4, 5126: 4 };
const WIDTHS: Record<string, number> = { SCALAR: 1, VEC2: 2, VEC3: 3, VEC4: 4 };
const IDENTITY: Matrix = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];

export function readGltf(bytes: Uint8Array): Shape {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 12 || view.getUint32(0, true) !== MAGIC) return new Gltf(parse(bytes), null).shape();
  let about: Fields | null = null;
  let binary: Uint8Array | null = null;
  for (let at = 12; at + 8 <= bytes.length;) {
    const [length, kind] = [view.getUint32(at, true), view.getUint32(at + 4, true)];
    if (at + 8 + length > bytes.length) throw cutOff();
    const chunk = bytes.subarray(at + 8, at + 8 + length);
    if (kind === JSON_CHUNK) about = parse(chunk);
    else binary ??= chunk;
    at += 8 + length;
  }
  if (!about) throw cutOff();
  return new Gltf(about, binary).shape();
}

const cutOff = (): ShapeError => new ShapeError("The end of this file is missing.", "Log it again.");

function parse(bytes: Uint8Array): Fields {
  try {
    const found: unknown = JSON.parse(new TextDecoder().decode(bytes));
    if (isFields(found)) return found;
  } catch {
    // Said below.
  }
  throw new ShapeError("This is no glTF file.", "Log a .gltf or a .glb file.");
}

class Gltf {
  #about: Fields;
  #binary: Uint8Array | null;
  #made = new Builder();
  #nodes = 0;

  constructor(about: Fields, binary: Uint8Array | null) {
    this.#about = about;
    this.#binary = binary;
  }

  shape(): Shape {
    const needed = this.#about["extensionsRequired"];
    if (Array.isArray(needed) && needed.some((name) => /draco|meshopt/iu.test(String(name))))
      throw new ShapeError(`Its meshes are compressed (${needed.join(", ")}).`, "Export it without compression.");
    const scene = this.#item("scenes", number(this.#about["scene"]) ?? 0);
    const roots = scene ? scene["nodes"] : list(this.#about["nodes"]).map((_, i) => i);
    for (const root of list(roots)) this.#node(number(root) ?? -1, IDENTITY, 0);
    return this.#made.shape("y", "meshes");
  }

  #item(name: string, index: number): Fields | null {
    const found = list(this.#about[name])[index];
    return isFields(found) ? found : null;
  }

  #node(index: number, outer: Matrix, depth: number): void {
    const node = this.#item("nodes", index);
    if (!node) return;
    this.#nodes += 1;
    if (depth > DEEPEST || this.#nodes > MOST_NODES) throw new ShapeError("Its nodes contain themselves.");
    const matrix = times(outer, matrixOf(node));
    const mesh = this.#item("meshes", number(node["mesh"]) ?? -1);
    for (const primitive of list(mesh?.["primitives"])) if (isFields(primitive)) this.#primitive(primitive, matrix);
    for (const child of list(node["children"])) this.#node(number(child) ?? -1, matrix, depth + 1);
  }

  #primitive(given: Fields, matrix: Matrix): void {
    const attributes = isFields(given["attributes"]) ? given["attributes"] : {};
    const [places, width] = this.#accessor(number(attributes["POSITION"]) ?? -1);
    if (width !== 3) throw new ShapeError("A mesh has no positions.");
    const count = places.length / 3;
    const corners = Array.from({ length: count }, (_, i) => moved(matrix, places, 3 * i));
    const order =
      given["indices"] === undefined
        ? Float64Array.from({ length: count }, (_, i) => i)
        : this.#accessor(number(given["indices"]) ?? -1)[0];
    const colour = this.#colour(given);
    const corner = (i: number): readonly number[] => {
      const found = corners[order[i]!];
      if (!found) throw new ShapeError("A mesh names corners that are not there.", "The file may be damaged.");
      return found;
    };
    const mode = number(given["mode"]) ?? 4;
    const n = order.length;
    if (mode === 0) for (let i = 0; i < n; i += 1) this.#made.point(...(corner(i) as [number, number, number]), colour);
    else if (mode <= 3) {
      for (let i = 1; i < n; i += mode === 1 ? 2 : 1) this.#made.line(corner(i - 1), corner(i), colour);
      if (mode === 2 && n > 1) this.#made.line(corner(n - 1), corner(0), colour);
    } else if (mode === 4)
      for (let i = 2; i < n; i += 3) this.#made.triangle(corner(i - 2), corner(i - 1), corner(i), colour);
    else
      for (let i = 2; i < n; i += 1)
        this.#made.triangle(corner(mode === 5 ? i - 2 : 0), corner(i - 1), corner(i), colour);
  }

  #colour(primitive: Fields): readonly [number, number, number] {
    const material = this.#item("materials", number(primitive["material"]) ?? -1);
    const look = material?.["pbrMetallicRoughness"];
    const factor = isFields(look) ? list(look["baseColorFactor"]).map((one) => number(one) ?? 1) : [];
    if (factor.length < 3) return GREY;
    // Linear light, as glTF has it.
    const [r, g, b] = factor.map((one) => Math.round(255 * Math.min(1, Math.max(0, one)) ** (1 / 2.2)));
    return [r!, g!, b!];
  }

  #accessor(index: number): [Float64Array, number] {
    const about = this.#item("accessors", index);
    const kind = number(about?.["componentType"]) ?? 0;
    const [size, width] = [SIZES[kind], WIDTHS[String(about?.["type"])]];
    const count = number(about?.["count"]) ?? -1;
    if (!about || !size || !width || !Number.isInteger(count) || count < 0)
      throw new ShapeError("A part of its meshes is missing.", "The file may be damaged.");
    const view = this.#item("bufferViews", number(about["bufferView"]) ?? -1);
    const data = this.#buffer(number(view?.["buffer"]) ?? -1);
    const from = (number(view?.["byteOffset"]) ?? 0) + (number(about["byteOffset"]) ?? 0);
    const stride = number(view?.["byteStride"]) ?? size * width;
    if (!view || from < 0 || stride < size || (count > 0 && from + stride * (count - 1) + size * width > data.length))
      throw new ShapeError("Its data ends too early.", "The file may be damaged: log it again.");
    const bytes = new DataView(data.buffer, data.byteOffset, data.byteLength);
    const read = READERS[kind]!;
    const found = new Float64Array(count * width);
    for (let i = 0; i < count; i += 1)
      for (let j = 0; j < width; j += 1) found[i * width + j] = read(bytes, from + i * stride + j * size);
    return [found, width];
  }

  #buffer(index: number): Uint8Array {
    const about = this.#item("buffers", index);
    const uri = about?.["uri"];
    if (about && uri === undefined && index === 0 && this.#binary) return this.#binary;
    if (typeof uri === "string" && uri.startsWith("data:")) {
      try {
        return Uint8Array.from(atob(uri.slice(uri.indexOf(",") + 1)), (letter) => letter.charCodeAt(0));
      } catch {
        throw new ShapeError("Its data is not valid Base64.", "The file may be damaged.");
      }
    }
    const named = typeof uri === "string" ? `“${uri.slice(0, 60)}”` : "another file";
    throw new ShapeError(
      `Its data is in ${named}, which was not logged.`,
      "Log a .glb file, which has everything in it.",
    );
  }
}

const READERS: Record<number, (view: DataView, at: number) => number> = {
  5120: (view, at) => view.getInt8(at),
  5121: (view, at) => view.getUint8(at),
  5122: (view, at) => view.getInt16(at, true),
  5123: (view, at) => view.getUint16(at, true),
  5125: (view, at) => view.getUint32(at, true),
  5126: (view, at) => view.getFloat32(at, true),
};

function matrixOf(node: Fields): Matrix {
  const given = list(node["matrix"]).map((one) => number(one) ?? 0);
  if (given.length === 16) return given;
  const of = (name: string, usual: number[]): number[] => {
    const values = list(node[name]).map((one) => number(one) ?? 0);
    return values.length === usual.length ? values : usual;
  };
  const [x, y, z, w] = of("rotation", [0, 0, 0, 1]) as [number, number, number, number];
  const [a, b, c] = of("scale", [1, 1, 1]) as [number, number, number];
  const [tx, ty, tz] = of("translation", [0, 0, 0]) as [number, number, number];
  return [
    ...[(1 - 2 * (y * y + z * z)) * a, 2 * (x * y + z * w) * a, 2 * (x * z - y * w) * a, 0],
    ...[2 * (x * y - z * w) * b, (1 - 2 * (x * x + z * z)) * b, 2 * (y * z + x * w) * b, 0],
    ...[2 * (x * z + y * w) * c, 2 * (y * z - x * w) * c, (1 - 2 * (x * x + y * y)) * c, 0],
    ...[tx, ty, tz, 1],
  ];
}

// By columns, as glTF has them.
function times(a: Matrix, b: Matrix): Matrix {
  return Array.from({ length: 16 }, (_, i) => {
    const [column, row] = [i >> 2, i & 3];
    return [0, 1, 2, 3].reduce((sum, k) => sum + a[4 * k + row]! * b[4 * column + k]!, 0);
  });
}

function moved(m: Matrix, places: Float64Array, at: number): readonly number[] {
  const [x, y, z] = [places[at]!, places[at + 1]!, places[at + 2]!];
  return [0, 1, 2].map((row) => m[row]! * x + m[4 + row]! * y + m[8 + row]! * z + m[12 + row]!);
}

const number = (value: unknown): number | undefined => (typeof value === "number" ? value : undefined);
const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);
const isFields = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value);
