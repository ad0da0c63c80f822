// Readers of molecules: pdb, pqr, sdf, mol2, gro, xyz and cif. Atoms become spheres, bonds sticks or lines. Pure.

import { Builder, type Shape, ShapeError } from "./shape.ts";

interface Atom {
  element: string;
  x: number;
  y: number;
  z: number;
}
type Bond = readonly [number, number];
interface Molecule {
  atoms: Atom[];
  /** Null: the file has none; neighbours that are close enough are bonded. */
  bonds: Bond[] | null;
}

const ELEMENTS: Record<string, readonly [number, number, number]> = {
  H: [235, 235, 235],
  C: [110, 112, 118],
  N: [58, 92, 214],
  O: [214, 52, 48],
  F: [106, 190, 90],
  P: [235, 140, 40],
  S: [222, 190, 50],
  CL: [60, 170, 70],
  BR: [150, 60, 40],
  I: [120, 40, 150],
  FE: [200, 110, 60],
  NA: [130, 90, 210],
  MG: [80, 150, 60],
  ZN: [120, 125, 175],
  CA: [90, 140, 90],
};
const OTHER = [200, 110, 180] as const;
/** Covalent radii in Å. */
const RADII: Record<string, number> = { H: 0.31, C: 0.76, N: 0.71, O: 0.66, F: 0.57, P: 1.07, S: 1.05, CL: 1.02 };
const SLACK = 0.4;
/** Above this, bonds are lines instead of sticks, and atoms are smaller. */
const MOST_STICKS = 3000;
const STICK = 6;

export function readMolecule(format: string, text: string): Shape {
  const read = READERS[format];
  if (!read) throw new ShapeError(`This page does not draw ${format || "such"} files.`);
  const { atoms, bonds } = read(text);
  if (atoms.length === 0) throw new ShapeError("The file has no atoms.");
  const made = new Builder();
  const large = atoms.length > MOST_STICKS;
  for (const { element, x, y, z } of atoms) {
    const radius = (RADII[element] ?? 1.2) * (large ? 0.6 : 0.45);
    made.point(x, y, z, ELEMENTS[element] ?? OTHER, radius);
  }
  const known = bonds ?? near(atoms);
  for (const [a, b] of known) {
    const [one, other] = [atoms[a], atoms[b]];
    if (!one || !other) throw new ShapeError("A bond names an atom that is not there.", "The file may be damaged.");
    const ends = [one, other].map(({ x, y, z }) => [x, y, z]);
    if (large) made.line(ends[0]!, ends[1]!, ELEMENTS[one.element] ?? OTHER);
    else
      for (let i = 1; i < STICK; i += 1) {
        const at = (axis: number): number => ends[0]![axis]! + ((ends[1]![axis]! - ends[0]![axis]!) * i) / STICK;
        made.point(at(0), at(1), at(2), ELEMENTS[(i < STICK / 2 ? one : other).element] ?? OTHER, 0.12);
      }
  }
  const words = `${atoms.length.toLocaleString("en-US")} atoms, ${known.length.toLocaleString("en-US")} bonds`;
  return made.shape("y", "atoms", words);
}

/** Bonds between atoms that are as close as bonded ones are; found in a grid, so that it stays quick. */
function near(atoms: readonly Atom[]): Bond[] {
  const cell = 2.6;
  const cells = new Map<string, number[]>();
  const keyOf = (x: number, y: number, z: number): string => `${x} ${y} ${z}`;
  const found: Bond[] = [];
  atoms.forEach((atom, number) => {
    const [i, j, k] = [atom.x, atom.y, atom.z].map((one) => Math.floor(one / cell)) as [number, number, number];
    for (let a = -1; a <= 1; a += 1)
      for (let b = -1; b <= 1; b += 1)
        for (let c = -1; c <= 1; c += 1)
          for (const other of cells.get(keyOf(i + a, j + b, k + c)) ?? []) {
            const to = atoms[other]!;
            const reach = (RADII[atom.element] ?? 1.2) + (RADII[to.element] ?? 1.2) + SLACK;
            const distance = Math.hypot(atom.x - to.x, atom.y - to.y, atom.z - to.z);
            if (distance > 0.1 && distance < reach && !(atom.element === "H" && to.element === "H"))
              found.push([other, number]);
          }
    const key = keyOf(i, j, k);
    const here = cells.get(key);
    if (here) here.push(number);
    else cells.set(key, [number]);
  });
  return found;
}

const plain = (name: string): string => name.replaceAll(/[^a-z]/giu, "").toUpperCase();
/** The element of an atom's name, such as "CA" of a protein. */
const ofName = (name: string): string => plain(name).slice(0, 1) || "C";

function pdb(text: string): Molecule {
  const atoms: Atom[] = [];
  for (const line of text.split("\n")) {
    if (line.startsWith("ENDMDL")) break; // the first of several models
    if (!/^(ATOM|HETATM)/u.test(line)) continue;
    const [x, y, z] = [30, 38, 46].map((at) => Number.parseFloat(line.slice(at, at + 8)));
    atoms.push({ element: plain(line.slice(76, 78)) || ofName(line.slice(12, 16)), x: x!, y: y!, z: z! });
  }
  return { atoms, bonds: null };
}

function pqr(text: string): Molecule {
  const rows = text.split("\n").filter((line) => /^(ATOM|HETATM)/u.test(line));
  return {
    atoms: rows.map((line) => {
      const words = line.trim().split(/\s+/u);
      const [x, y, z] = words.slice(-5, -2).map(Number);
      return { element: ofName(words[2] ?? ""), x: x!, y: y!, z: z! };
    }),
    bonds: null,
  };
}

function sdf(text: string): Molecule {
  const lines = text.split("\n");
  const counts = lines[3] ?? "";
  const [n, m] = [Number.parseInt(counts.slice(0, 3), 10), Number.parseInt(counts.slice(3, 6), 10)];
  if (!(n >= 0) || !(m >= 0) || /V3000/u.test(counts) || lines.length < 4 + n + m)
    throw new ShapeError("This is no molecule in the V2000 form.", "Log it as pdb.");
  const atoms = lines.slice(4, 4 + n).map((line) => {
    const [x, y, z, element] = line.trim().split(/\s+/u);
    return { element: plain(element ?? ""), x: Number(x), y: Number(y), z: Number(z) };
  });
  const bonds = lines
    .slice(4 + n, 4 + n + m)
    .map((line): Bond => [Number.parseInt(line.slice(0, 3), 10) - 1, Number.parseInt(line.slice(3, 6), 10) - 1]);
  return { atoms, bonds };
}

function xyz(text: string): Molecule {
  const lines = text.split("\n");
  const count = Number.parseInt(lines[0] ?? "", 10);
  const atoms = lines.slice(2, 2 + (count >= 0 ? count : 0)).map((line) => {
    const [element, x, y, z] = line.trim().split(/\s+/u);
    return { element: plain(element ?? ""), x: Number(x), y: Number(y), z: Number(z) };
  });
  return { atoms, bonds: null };
}

function gro(text: string): Molecule {
  const lines = text.split("\n");
  const count = Number.parseInt(lines[1] ?? "", 10);
  const atoms = lines.slice(2, 2 + (count >= 0 ? count : 0)).map((line) => {
    // In nm.
    const [x, y, z] = [20, 28, 36].map((at) => 10 * Number.parseFloat(line.slice(at, at + 8)));
    return { element: ofName(line.slice(10, 15)), x: x!, y: y!, z: z! };
  });
  return { atoms, bonds: null };
}

function mol2(text: string): Molecule {
  const part = (name: string): string[][] =>
    (text.split(`@<TRIPOS>${name}`)[1] ?? "")
      .split("@<TRIPOS>")[0]!
      .split("\n")
      .map((line) => line.trim().split(/\s+/u))
      .filter((words) => words.length >= 4);
  return {
    atoms: part("ATOM").map(([, name, x, y, z, kind]) => {
      const element = plain((kind ?? "").split(".")[0]!) || ofName(name ?? "");
      return { element, x: Number(x), y: Number(y), z: Number(z) };
    }),
    bonds: part("BOND").map(([, a, b]): Bond => [Number(a) - 1, Number(b) - 1]),
  };
}

function cif(text: string): Molecule {
  const lines = text.split("\n");
  const first = lines.findIndex((line) => line.trim().startsWith("_atom_site."));
  if (first < 0) throw new ShapeError("The file has no places of atoms.", "Log it as pdb.");
  const names: string[] = [];
  let at = first;
  for (; lines[at]?.trim().startsWith("_atom_site."); at += 1)
    names.push(lines[at]!.trim().slice("_atom_site.".length));
  const column = (name: string): number => names.indexOf(name);
  const [symbol, x, y, z] = ["type_symbol", "Cartn_x", "Cartn_y", "Cartn_z"].map(column);
  if (x! < 0) throw new ShapeError("The file has no Cartesian places of atoms.", "Log it as pdb.");
  const atoms: Atom[] = [];
  for (; at < lines.length && !/^(#|loop_|_|data_)/u.test(lines[at]!.trim()); at += 1) {
    const words = lines[at]!.match(/'[^']*'|"[^"]*"|\S+/gu) ?? [];
    if (words.length < names.length) continue;
    const place = [x!, y!, z!].map((one) => Number(words[one]));
    atoms.push({ element: plain(words[symbol!] ?? "C"), x: place[0]!, y: place[1]!, z: place[2]! });
  }
  return { atoms, bonds: null };
}

const READERS: Record<string, (text: string) => Molecule> = {
  ...{ pdb, pqr, sdf, sd: sdf, mol: sdf, xyz, gro, mol2, cif, mcif: cif, mmcif: cif },
};
export const MOLECULES = Object.keys(READERS);
