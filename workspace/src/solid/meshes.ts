// Readers of meshes: obj and stl. Pure.

import { Builder, type Shape, ShapeError } from "./shape.ts";

export function readObj(text: string): Shape {
  const made = new Builder();
  const corners: number[][] = [];
  for (const line of text.split("\n")) {
    const words = line.trim().split(/\s+/u);
    if (words[0] === "v") corners.push(words.slice(1, 4).map(Number));
    else if (words[0] === "f" || words[0] === "l") {
      const face = words.slice(1).map((word) => {
        const number = Number.parseInt(word, 10);
        const corner = corners[number < 0 ? corners.length + number : number - 1];
        if (!corner) throw new ShapeError(`A face names the corner ${word.slice(0, 20)}, which is not there.`);
        return corner;
      });
      if (words[0] === "l") for (let i = 1; i < face.length; i += 1) made.line(face[i - 1]!, face[i]!);
      else for (let i = 2; i < face.length; i += 1) made.triangle(face[0]!, face[i - 1]!, face[i]!);
    }
  }
  return made.shape("y", "faces");
}

export function readStl(bytes: Uint8Array): Shape {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const made = new Builder();
  // A binary file may begin with "solid", too: its length says which it is.
  const count = bytes.length >= 84 ? view.getUint32(80, true) : -1;
  if (count >= 0 && bytes.length === 84 + 50 * count) {
    for (let i = 0; i < count; i += 1) {
      const at = (corner: number): number[] =>
        [0, 4, 8].map((axis) => view.getFloat32(84 + 50 * i + 12 * (corner + 1) + axis, true));
      made.triangle(at(0), at(1), at(2));
    }
    return made.shape("z", "triangles");
  }
  const text = new TextDecoder().decode(bytes);
  if (!/^\s*solid/u.test(text))
    throw new ShapeError("This is no STL file, or its end is missing.", "Log it again if it was cut off.");
  const corners = [...text.matchAll(/vertex\s+(\S+)\s+(\S+)\s+(\S+)/gu)].map((found) => found.slice(1, 4).map(Number));
  for (let i = 2; i < corners.length; i += 3) made.triangle(corners[i - 2]!, corners[i - 1]!, corners[i]!);
  return made.shape("z", "triangles");
}
