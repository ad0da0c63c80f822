// The reader of point clouds and scenes with boxes and vectors, as `Object3D` stores them (pts.json). Pure.

import { Builder, CLASSES, type Shape, ShapeError } from "./shape.ts";

type Place = readonly [number, number, number];
const BOX = [214, 122, 90] as const;

export function readPoints(text: string): Shape {
  let given: unknown;
  try {
    given = JSON.parse(text);
  } catch {
    throw new ShapeError("This is no JSON, or its end is missing.", "Log the point cloud again.");
  }
  const made = new Builder();
  const scene = typeof given === "object" && given !== null && !Array.isArray(given);
  const { points, boxes, vectors } = (scene ? given : { points: given }) as Record<string, unknown>;
  let count = 0;
  for (const point of list(points)) {
    const [x, y, z, ...more] = list(point).map(Number);
    const colour = more.length >= 3 ? more.slice(0, 3) : CLASSES[(more[0] ?? 1) - 1];
    made.point(x!, y!, z!, (colour ?? CLASSES[0]!) as unknown as Place);
    count += 1;
  }
  const labels: string[] = [];
  for (const box of list(boxes)) {
    const { corners, color, label } = (box ?? {}) as Record<string, unknown>;
    const places = list(corners).map((corner) => list(corner).map(Number) as unknown as Place);
    const own = list(color).map(Number);
    const colour = own.length === 3 ? (own as unknown as Place) : BOX;
    for (const [a, b] of edgesOf(places)) made.line(places[a]!, places[b]!, colour);
    if (typeof label === "string" && !labels.includes(label)) labels.push(label);
  }
  for (const vector of list(vectors)) {
    const { start, end, color } = (vector ?? {}) as Record<string, unknown>;
    const own = list(color).map(Number);
    made.line(
      list(start).map(Number),
      list(end).map(Number),
      own.length === 3 ? (own as unknown as Place) : CLASSES[0]!,
    );
  }
  const about = [
    `${count.toLocaleString("en-US")} point${count === 1 ? "" : "s"}`,
    ...(list(boxes).length > 0 ? [`${list(boxes).length} box${list(boxes).length === 1 ? "" : "es"}`] : []),
    ...(labels.length > 0 ? [labels.slice(0, 5).join(", ")] : []),
  ];
  return made.shape("z", "points", about.join(", "));
}

/** The twelve edges of a box, whatever the order of its eight corners: three of them span it from the first. */
export function edgesOf(corners: readonly Place[]): [number, number][] {
  if (corners.length !== 8) return [];
  const minus = (a: Place, b: Place): Place => [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
  const size = Math.max(...corners.flat().map(Math.abs), 1e-30);
  const same = (a: Place, b: Place): boolean => a.every((one, i) => Math.abs(one - b[i]!) < 1e-4 * size);
  for (let i = 1; i < 8; i += 1)
    for (let j = i + 1; j < 8; j += 1)
      for (let k = j + 1; k < 8; k += 1) {
        const spans = [i, j, k].map((one) => minus(corners[one]!, corners[0]!));
        // The corner that has these of the three spans, as bits.
        const at = Array.from({ length: 8 }, (_, bits) => {
          const place = [0, 1, 2].map((axis) =>
            spans.reduce((sum, span, bit) => sum + (bits & (1 << bit) ? span[axis]! : 0), corners[0]![axis]!),
          ) as unknown as Place;
          return corners.findIndex((corner) => same(corner, place));
        });
        if (new Set(at).size !== 8 || at.includes(-1)) continue;
        return at.flatMap((from, bits): [number, number][] =>
          [1, 2, 4].filter((bit) => !(bits & bit)).map((bit) => [from, at[bits | bit]!]),
        );
      }
  // No box: a closed line through its corners shows at least where it is.
  return corners.map((_, i) => [i, (i + 1) % 8]);
}

const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);
