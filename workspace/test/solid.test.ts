import assert from "node:assert/strict";
import { test } from "node:test";
import { cameraFor, Raster } from "../src/solid/raster.ts";
import { edgesOf } from "../src/solid/points.ts";
import { readShape } from "../src/solid/read.ts";
import { boundsOf, type Shape } from "../src/solid/shape.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const read = (name: string, text: string): Shape => readShape(name, bytes(text));

function stl(triangles: number[][]): Uint8Array {
  const view = new DataView(new ArrayBuffer(84 + 50 * triangles.length));
  view.setUint32(80, triangles.length, true);
  triangles.forEach((corners, i) => corners.forEach((at, j) => view.setFloat32(84 + 50 * i + 12 + 4 * j, at, true)));
  return new Uint8Array(view.buffer);
}

function gltf(change: (about: Record<string, unknown>) => void = () => undefined): string {
  const data = new Float32Array([0, 0, 0, 1, 0, 0, 0, 1, 0]);
  const base64 = Buffer.from(data.buffer).toString("base64");
  const about = {
    scene: 0,
    scenes: [{ nodes: [0] }],
    nodes: [
      { children: [1], translation: [5, 0, 0] },
      { mesh: 0, scale: [2, 2, 2] },
    ],
    meshes: [{ primitives: [{ attributes: { POSITION: 0 }, material: 0 }] }],
    materials: [{ pbrMetallicRoughness: { baseColorFactor: [1, 0, 0, 1] } }],
    accessors: [{ bufferView: 0, componentType: 5126, count: 3, type: "VEC3" }],
    bufferViews: [{ buffer: 0, byteLength: 36 }],
    buffers: [{ byteLength: 36, uri: `data:application/octet-stream;base64,${base64}` }],
  };
  change(about);
  return JSON.stringify(about);
}

test("meshes are read from obj, stl and glTF with its nodes", () => {
  const square = read("a.obj", "# x\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf 1/1 2//2 3 -1\n");
  assert.equal(square.about, "2 triangles");
  assert.deepEqual([...square.triangles.slice(9)], [0, 0, 0, 1, 1, 0, 0, 1, 0]);
  const solid = readShape("a.STL", stl([[0, 0, 0, 1, 0, 0, 0, 1, 0]]));
  assert.deepEqual([...solid.triangles], [0, 0, 0, 1, 0, 0, 0, 1, 0]);
  const text = "solid x\nfacet\nvertex 0 0 0\nvertex 1 0 0\nvertex 0 1e0 0\nendfacet";
  assert.deepEqual(read("a.stl", text).triangles, solid.triangles);
  const scene = read("a.gltf", gltf());
  assert.deepEqual([...scene.triangles], [5, 0, 0, 7, 0, 0, 5, 2, 0]);
  assert.deepEqual([...scene.triangleColours], [255, 0, 0]);
});

test("point clouds have classes or colours, and scenes boxes with twelve edges in any order of their corners", () => {
  assert.deepEqual([...read("a.pts.json", "[[0,0,0,2],[1,1,1,1]]").pointColours.slice(0, 3)], [214, 122, 90]);
  assert.deepEqual([...read("a.pts.json", "[[0,0,0,9,8,7]]").pointColours], [9, 8, 7]);
  const corners = [7, 2, 0, 5, 1, 3, 6, 4].map((bits): [number, number, number] => [
    bits & 1 ? 2 : 0,
    bits & 2 ? 3 : 0,
    bits & 4 ? 4 : 0,
  ]);
  const lengths = edgesOf(corners).map(([a, b]) => Math.hypot(...corners[a]!.map((one, i) => one - corners[b]![i]!)));
  assert.deepEqual(lengths.toSorted(), [2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4]);
  const scene = { type: "lidar/beta", points: [[0, 0, 0]], boxes: [{ corners, label: "car" }], vectors: [] };
  const shape = read("a.pts.json", JSON.stringify(scene));
  assert.deepEqual([shape.about, shape.lines.length / 6], ["1 point, 1 box, car", 12]);
});

test("molecules have atoms and bonds in each of their formats", () => {
  const pdb =
    "ATOM      1  C   LIG A   1       0.000   0.000   0.000  1.00  0.00           C\n" +
    "HETATM    2  O   LIG A   1       1.200   0.000   0.000  1.00  0.00           O\nEND";
  const sdf = "\n\n\n  2  1  0\n    0.0 0.0 0.0 C\n    1.2 0.0 0.0 O\n  1  2  2\nM  END";
  const mol2 = "@<TRIPOS>ATOM\n1 C1 0 0 0 C.2\n2 O1 1.2 0 0 O.2\n@<TRIPOS>BOND\n1 1 2 2\n";
  const cif =
    "loop_\n_atom_site.type_symbol\n_atom_site.Cartn_x\n_atom_site.Cartn_y\n_atom_site.Cartn_z\nC 0 0 0\nO 1.2 0 0\n#";
  const gro = "x\n2\n    1LIG      C    1   0.000   0.000   0.000\n    1LIG      O    2   0.120   0.000   0.000\n";
  const given = { pdb, sdf, mol2, cif, gro, xyz: "2\n\nC 0 0 0\nO 1.2 0 0\n" };
  for (const [format, text] of Object.entries(given))
    assert.equal(read(`a.${format}`, text).about, "2 atoms, 1 bonds", format);
});

test("damaged and hostile files say what is wrong", () => {
  const wrong = (name: string, data: string | Uint8Array, message: RegExp): void => {
    const start = performance.now();
    assert.throws(() => readShape(name, typeof data === "string" ? bytes(data) : data), message);
    assert.ok(performance.now() - start < 5000);
  };
  wrong("a.obj", "v 0 0 0\nf 1 2 9", /names the corner 2, which is not there/u);
  wrong("a.obj", "<script>alert(1)</script>", /has no faces/u);
  wrong("a.obj", "v x 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3", /not numbers/u);
  wrong("a.stl", stl([[0, 0, 0, 1, 0, 0, 0, 1, 0]]).subarray(0, 100), /end is missing/u);
  wrong("a.gltf", "{", /no glTF file/u);
  wrong("a.glb", Uint8Array.of(0x67, 0x6c, 0x54, 0x46, 2, 0, 0, 0, 99, 0, 0, 0, 99, 0, 0, 0, 74, 83, 79, 78), /end/u);
  wrong(
    "a.gltf",
    gltf((a) => (a["nodes"] = [{ children: [0] }])),
    /contain themselves/u,
  );
  wrong(
    "a.gltf",
    gltf((a) => (a["nodes"] = [{ children: [0, 0], mesh: 0 }])),
    /contain themselves/u,
  );
  wrong(
    "a.gltf",
    gltf((a) => (a["buffers"] = [{ uri: "https://evil.example/x.bin" }])),
    /was not logged/u,
  );
  const huge = [{ bufferView: 0, componentType: 5126, count: 4e9, type: "VEC3" }];
  wrong(
    "a.gltf",
    gltf((a) => (a["accessors"] = huge)),
    /ends too early/u,
  );
  wrong(
    "a.gltf",
    gltf((a) => (a["extensionsRequired"] = ["KHR_draco_mesh_compression"])),
    /compressed/u,
  );
  wrong("a.pts.json", "[[0,0", /no JSON/u);
  wrong("a.pts.json", '{"points": 7}', /no points/u);
  wrong("a.pdb", "nothing", /no atoms/u);
  wrong("a.sdf", "\n\n\n 99 99", /V2000/u);
  wrong("a.sdf", "\n\n\n  1  1  0\n 0 0 0 C\n  1  7  1\n", /not there/u);
  wrong("a.babylon", "{}", /does not draw babylon files/u);
});

test("what is nearer hides what is farther, and the whole shape is in sight", () => {
  const near = "v -1 -1 1\nv 1 -1 1\nv 0 1 1\nf 1 2 3\n";
  const shape = read("a.obj", near);
  const raster = new Raster(60, 40);
  raster.draw(shape, { ...cameraFor(boundsOf(shape)), turn: 0, tilt: 0 }, 1);
  const solid = (x: number, y: number): boolean => raster.pixels[4 * (y * 60 + x) + 3]! > 0;
  assert.ok(solid(30, 20));
  for (let x = 0; x < 60; x += 1) assert.ok(!solid(x, 0) && !solid(x, 39));
  const points = read("a.pts.json", "[[0,-1,0,255,0,0],[0,1,0,0,255,0]]");
  raster.draw(points, { ...cameraFor(boundsOf(points)), turn: 0, tilt: 0 }, 3);
  const middle = 4 * (20 * 60 + 30);
  assert.ok(raster.pixels[middle]! > 0 && raster.pixels[middle + 1] === 0); // red is in front: z is up, and y goes away
});
