// Finds the reader of a 3D file by the end of its name. Pure.

import { readGltf } from "./gltf.ts";
import { readObj, readStl } from "./meshes.ts";
import { MOLECULES, readMolecule } from "./molecules.ts";
import { readPoints } from "./points.ts";
import { type Shape, ShapeError } from "./shape.ts";

export function readShape(name: string, bytes: Uint8Array): Shape {
  const end = name.toLowerCase().slice(name.lastIndexOf(".") + 1);
  const text = (): string => new TextDecoder().decode(bytes);
  if (end === "obj") return readObj(text());
  if (end === "stl") return readStl(bytes);
  if (end === "gltf" || end === "glb") return readGltf(bytes);
  if (end === "json") return readPoints(text());
  if (MOLECULES.includes(end)) return readMolecule(end, text());
  throw new ShapeError(`This page does not draw ${end} files.`);
}
