// Draws a shape into pixels with a depth buffer, in software: browsers allow only some 16 WebGL contexts a page, and none on
// machines without a driver; a page of objects needs more. Pure.

import type { Shape } from "./shape.ts";

export interface Camera {
  middle: readonly [number, number, number];
  /** The distance from the middle. */
  distance: number;
  /** Radians around the upright axis, and above the ground. */
  turn: number;
  tilt: number;
}

/** Half of the shorter side of the picture at distance 1: a lens of some 40°. */
const LENS = 0.36;

export class Raster {
  readonly width: number;
  readonly height: number;
  /** Red, green, blue, opacity of each pixel. */
  readonly pixels: Uint8ClampedArray<ArrayBuffer>;
  #depth: Float32Array;

  constructor(width: number, height: number) {
    [this.width, this.height] = [width, height];
    this.pixels = new Uint8ClampedArray(width * height * 4);
    this.#depth = new Float32Array(width * height);
  }

  /** @param dot the width of points and lines in pixels */
  draw(shape: Shape, camera: Camera, dot: number): void {
    this.pixels.fill(0);
    this.#depth.fill(Infinity);
    const project = projection(camera, shape.up, this.width, this.height);
    this.#triangles(shape, project);
    this.#lines(shape, project, Math.max(1, Math.round(dot)));
    this.#points(shape, project, camera, dot);
  }

  #triangles({ triangles, triangleColours }: Shape, project: Project): void {
    const [a, b, c] = [new Float64Array(3), new Float64Array(3), new Float64Array(3)];
    for (let i = 0, n = 0; i < triangles.length; i += 9, n += 3) {
      project(triangles, i, a);
      project(triangles, i + 3, b);
      project(triangles, i + 6, c);
      if (a[2]! <= 0 || b[2]! <= 0 || c[2]! <= 0) continue;
      // The light comes from the viewer's left shoulder; both sides are lit.
      const light = lightOf(triangles, i, project.axes);
      this.#fill(a, b, c, triangleColours, n, light);
    }
  }

  #fill(a: Float64Array, b: Float64Array, c: Float64Array, colours: Uint8Array, n: number, light: number): void {
    const area = (b[0]! - a[0]!) * (c[1]! - a[1]!) - (b[1]! - a[1]!) * (c[0]! - a[0]!);
    if (area === 0) return;
    const top = Math.max(0, Math.ceil(Math.min(a[1]!, b[1]!, c[1]!) - 0.5));
    const bottom = Math.min(this.height - 1, Math.floor(Math.max(a[1]!, b[1]!, c[1]!) - 0.5));
    const left = Math.max(0, Math.ceil(Math.min(a[0]!, b[0]!, c[0]!) - 0.5));
    const right = Math.min(this.width - 1, Math.floor(Math.max(a[0]!, b[0]!, c[0]!) - 0.5));
    for (let y = top; y <= bottom; y += 1)
      for (let x = left; x <= right; x += 1) {
        const [px, py] = [x + 0.5, y + 0.5];
        const u = ((b[0]! - px) * (c[1]! - py) - (b[1]! - py) * (c[0]! - px)) / area;
        const v = ((c[0]! - px) * (a[1]! - py) - (c[1]! - py) * (a[0]! - px)) / area;
        const w = 1 - u - v;
        if (u < 0 || v < 0 || w < 0) continue;
        this.#put(x, y, u * a[2]! + v * b[2]! + w * c[2]!, colours, n, light);
      }
  }

  #lines({ lines, lineColours }: Shape, project: Project, wide: number): void {
    const [a, b] = [new Float64Array(3), new Float64Array(3)];
    const half = (wide - 1) / 2;
    for (let i = 0, n = 0; i < lines.length; i += 6, n += 3) {
      project(lines, i, a);
      project(lines, i + 3, b);
      if (a[2]! <= 0 || b[2]! <= 0) continue;
      const [dx, dy] = [b[0]! - a[0]!, b[1]! - a[1]!];
      // A line that leaves the picture far behind is not followed there.
      const steps = Math.min(4 * (this.width + this.height), Math.ceil(Math.max(Math.abs(dx), Math.abs(dy), 1)));
      for (let s = 0; s <= steps; s += 1) {
        const t = s / steps;
        const [x, y] = [a[0]! + dx * t, a[1]! + dy * t];
        const depth = a[2]! + (b[2]! - a[2]!) * t;
        for (let v = -half; v <= half; v += 1)
          for (let u = -half; u <= half; u += 1)
            this.#put(Math.round(x + u), Math.round(y + v), depth * 0.999, lineColours, n, 1);
      }
    }
  }

  #points({ points, pointColours, radii }: Shape, project: Project, { distance }: Camera, dot: number): void {
    const a = new Float64Array(3);
    for (let i = 0, n = 0; i < points.length; i += 3, n += 1) {
      project(points, i, a);
      const depth = a[2]!;
      if (depth <= 0) continue;
      const own = radii?.[n] ?? 0;
      const radius = own > 0 ? (own * project.scale) / depth : dot / 2;
      if (own > 0 && radius > 0.8) this.#ball(a, radius, own, pointColours, 3 * n);
      else {
        const [half, light] = [Math.max(0, Math.round(radius - 0.5)), Math.min(1, 0.55 + (0.45 * distance) / depth)];
        for (let v = -half; v <= half; v += 1)
          for (let u = -half; u <= half; u += 1)
            this.#put(Math.round(a[0]! + u), Math.round(a[1]! + v), depth, pointColours, 3 * n, light);
      }
    }
  }

  #ball(at: Float64Array, radius: number, own: number, colours: Uint8Array, n: number): void {
    const most = Math.min(radius, this.width + this.height);
    for (let v = Math.ceil(-most); v <= most; v += 1)
      for (let u = Math.ceil(-most); u <= most; u += 1) {
        const rest = 1 - (u * u + v * v) / (radius * radius);
        if (rest < 0) continue;
        const front = Math.sqrt(rest);
        const light = 0.35 + 0.65 * Math.max(0, (-0.4 * u - 0.5 * v) / radius + 0.77 * front);
        this.#put(Math.round(at[0]! + u), Math.round(at[1]! + v), at[2]! - own * front, colours, n, light);
      }
  }

  #put(x: number, y: number, depth: number, colours: Uint8Array, n: number, light: number): void {
    if (x < 0 || y < 0 || x >= this.width || y >= this.height) return;
    const at = y * this.width + x;
    if (depth >= this.#depth[at]!) return;
    this.#depth[at] = depth;
    this.pixels[4 * at] = colours[n]! * light;
    this.pixels[4 * at + 1] = colours[n + 1]! * light;
    this.pixels[4 * at + 2] = colours[n + 2]! * light;
    this.pixels[4 * at + 3] = 255;
  }
}

interface Project {
  /** Writes x and y in pixels, and the depth, of the place at `i`. */
  (places: Float32Array, i: number, out: Float64Array): void;
  /** Pixels of a length of 1 at depth 1. */
  scale: number;
  /** To the right, upwards, and away from the viewer. */
  axes: readonly [readonly number[], readonly number[], readonly number[]];
}

function projection({ middle, distance, turn, tilt }: Camera, up: Shape["up"], width: number, height: number): Project {
  const [ct, st, cl, sl] = [Math.cos(turn), Math.sin(turn), Math.cos(tilt), Math.sin(tilt)];
  // In a frame whose y points upwards; z-up objects are turned into it.
  const frame = [
    [ct, 0, -st],
    [-st * sl, cl, -ct * sl],
    [-st * cl, -sl, -ct * cl],
  ];
  const axes = (up === "y" ? frame : frame.map(([x, y, z]) => [x!, -z!, y!])) as unknown as Project["axes"];
  const scale = Math.min(width, height) / (2 * LENS);
  const [right, upwards, away] = axes;
  const project = (places: Float32Array, i: number, out: Float64Array): void => {
    const [x, y, z] = [places[i]! - middle[0], places[i + 1]! - middle[1], places[i + 2]! - middle[2]];
    const depth = x * away[0]! + y * away[1]! + z * away[2]! + distance;
    out[0] = width / 2 + ((x * right[0]! + y * right[1]! + z * right[2]!) * scale) / depth;
    out[1] = height / 2 - ((x * upwards[0]! + y * upwards[1]! + z * upwards[2]!) * scale) / depth;
    out[2] = depth;
  };
  return Object.assign(project, { scale, axes });
}

function lightOf(t: Float32Array, i: number, [right, up, away]: Project["axes"]): number {
  const [ux, uy, uz] = [t[i + 3]! - t[i]!, t[i + 4]! - t[i + 1]!, t[i + 5]! - t[i + 2]!];
  const [vx, vy, vz] = [t[i + 6]! - t[i]!, t[i + 7]! - t[i + 1]!, t[i + 8]! - t[i + 2]!];
  const n = [uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx];
  const length = Math.hypot(n[0]!, n[1]!, n[2]!) || 1;
  const along = (axis: readonly number[]): number => (n[0]! * axis[0]! + n[1]! * axis[1]! + n[2]! * axis[2]!) / length;
  return 0.3 + 0.7 * Math.abs(-0.4 * along(right) + 0.5 * along(up) - 0.77 * along(away));
}

/** The camera that has all of a shape in sight. */
export function cameraFor({ middle, radius }: { middle: readonly [number, number, number]; radius: number }): Camera {
  return { middle, distance: (radius * 1.05) / Math.sin(Math.atan(LENS)), turn: 0.6, tilt: 0.35 };
}
