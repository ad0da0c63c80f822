// What a 3D object comes to: points, spheres, lines and triangles with colours. Each reader of a format gives one. Pure.

export interface Shape {
  /** x, y, z of each point. */
  points: Float32Array;
  pointColours: Uint8Array;
  /** The radius of each point as a sphere; null: they are dots. */
  radii: Float32Array | null;
  /** Three corners of each triangle, and one colour. */
  triangles: Float32Array;
  triangleColours: Uint8Array;
  /** Two ends of each line, and one colour. */
  lines: Float32Array;
  lineColours: Uint8Array;
  /** The axis that points upwards. */
  up: "y" | "z";
  /** What the object consists of, in words. */
  about: string;
}

/** A file that cannot be shown: `message` says why, and `hint` what to do. */
export class ShapeError extends Error {
  override name = "ShapeError";
  readonly hint: string;

  constructor(message: string, hint = "Download it to open it elsewhere.") {
    super(message);
    this.hint = hint;
  }
}

export const MOST_TRIANGLES = 2_000_000;
export const MOST_POINTS = 5_000_000;
export const GREY = [150, 160, 172] as const;
/** Colours of classes; the first stands for class 1. */
export const CLASSES: readonly (readonly [number, number, number])[] = [
  [57, 106, 210],
  [214, 122, 90],
  [123, 60, 170],
  [62, 150, 81],
  [218, 165, 32],
  [204, 37, 41],
  [83, 170, 180],
  [146, 96, 60],
  [230, 120, 180],
  [120, 140, 40],
  [40, 80, 120],
  [180, 180, 90],
  [90, 90, 150],
  [140, 140, 140],
];

type Colour = readonly [number, number, number];

/** Collects the parts of a shape; refuses more than can be drawn, and coordinates that are no numbers. */
export class Builder {
  #points: number[] = [];
  #pointColours: number[] = [];
  #radii: number[] = [];
  #triangles: number[] = [];
  #triangleColours: number[] = [];
  #lines: number[] = [];
  #lineColours: number[] = [];

  point(x: number, y: number, z: number, colour: Colour = GREY, radius = 0): void {
    if (this.#points.length >= 3 * MOST_POINTS) throw tooMany("points", MOST_POINTS);
    this.#points.push(x, y, z);
    this.#pointColours.push(...colour);
    this.#radii.push(radius);
  }

  line(from: readonly number[], to: readonly number[], colour: Colour = GREY): void {
    if (this.#lines.length >= 6 * MOST_TRIANGLES) throw tooMany("lines", MOST_TRIANGLES);
    this.#lines.push(from[0]!, from[1]!, from[2]!, to[0]!, to[1]!, to[2]!);
    this.#lineColours.push(...colour);
  }

  triangle(a: readonly number[], b: readonly number[], c: readonly number[], colour: Colour = GREY): void {
    if (this.#triangles.length >= 9 * MOST_TRIANGLES) throw tooMany("triangles", MOST_TRIANGLES);
    this.#triangles.push(a[0]!, a[1]!, a[2]!, b[0]!, b[1]!, b[2]!, c[0]!, c[1]!, c[2]!);
    this.#triangleColours.push(...colour);
  }

  /** @param what the file should have had, for the message when there is nothing. */
  shape(up: Shape["up"], what: string, about?: string): Shape {
    const numbers = [this.#points, this.#triangles, this.#lines];
    if (numbers.every((list) => list.length === 0)) throw new ShapeError(`The file has no ${what}.`);
    if (numbers.some((list) => list.some((one) => !Number.isFinite(one))))
      throw new ShapeError("Some coordinates are not numbers.", "The file may be damaged: log it again.");
    const said = [
      [this.#triangles.length / 9, "triangle"],
      [this.#points.length / 3, "point"],
      [this.#lines.length / 6, "line"],
    ] as const;
    return {
      points: Float32Array.from(this.#points),
      pointColours: Uint8Array.from(this.#pointColours),
      radii: this.#radii.some((radius) => radius > 0) ? Float32Array.from(this.#radii) : null,
      triangles: Float32Array.from(this.#triangles),
      triangleColours: Uint8Array.from(this.#triangleColours),
      lines: Float32Array.from(this.#lines),
      lineColours: Uint8Array.from(this.#lineColours),
      up,
      about:
        about ??
        said
          .filter(([count]) => count > 0)
          .map(([count, word]) => `${count.toLocaleString("en-US")} ${word}${count === 1 ? "" : "s"}`)
          .join(", "),
    };
  }
}

const tooMany = (what: string, most: number): ShapeError =>
  new ShapeError(`The file has more than ${most.toLocaleString("en-US")} ${what}, which is more than this page draws.`);

/** The middle of a shape, and how far its farthest part is from there. */
export function boundsOf(shape: Shape): { middle: [number, number, number]; radius: number } {
  const low = [Infinity, Infinity, Infinity];
  const high = [-Infinity, -Infinity, -Infinity];
  for (const list of [shape.points, shape.triangles, shape.lines])
    for (let i = 0; i < list.length; i += 1) {
      const axis = i % 3;
      if (list[i]! < low[axis]!) low[axis] = list[i]!;
      if (list[i]! > high[axis]!) high[axis] = list[i]!;
    }
  const middle = low.map((one, i) => (one + high[i]!) / 2) as [number, number, number];
  let far = 0;
  for (const list of [shape.points, shape.triangles, shape.lines])
    for (let i = 0; i < list.length; i += 3)
      far = Math.max(far, Math.hypot(list[i]! - middle[0], list[i + 1]! - middle[1], list[i + 2]! - middle[2]));
  return { middle, radius: far + (shape.radii?.reduce((a, b) => Math.max(a, b), 0) ?? 0) || 1 };
}
