// The colour and the stroke of a run. Pure. The slot is the order in which runs of a project were created, so that a
// run looks the same on every page, however the list is sorted.

export const PALETTE = 10;
export const DASHES: readonly (readonly number[])[] = [[], [7, 3], [2, 2], [8, 2, 2, 2]];

/** The CSS variable of a slot, counted from 0: "--c1" to "--c10". */
export function colourOf(slot: number): string {
  return `--c${(slot % PALETTE) + 1}`;
}

/** The dash pattern of a slot: solid for the first ten runs, then dashed, dotted, mixed. */
export function dashOf(slot: number): readonly number[] {
  return DASHES[Math.floor(slot / PALETTE) % DASHES.length]!;
}

/** The class of a swatch with that stroke. */
export function swatchOf(slot: number): string {
  return ["sw", "sw d2", "sw d3", "sw d4"][Math.floor(slot / PALETTE) % DASHES.length]!;
}
