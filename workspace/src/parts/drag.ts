// Panels are taken by their title and put beside another one, or into another section; a corner changes their size.

import { signal } from "@preact/signals";
import { MOST_TALL, MOST_WIDE, type Spot } from "../model/layout.ts";

const START_PX = 6;

/** The panel that is being moved, and where it would be put. */
export const dragged = signal<{ id: string; spot: Spot | null } | null>(null);

/** Follows the pointer until it is released; `drop` is called if the panel was moved to a place. */
export function drag(event: PointerEvent, id: string, drop: (spot: Spot) => void): void {
  // On a touch screen the page scrolls; the menu of the panel moves it there.
  if (event.button !== 0 || event.pointerType === "touch") return;
  if (event.target instanceof Element && event.target.closest("button, .pop")) return;
  const [x, y] = [event.clientX, event.clientY];
  const stop = new AbortController();
  const { signal: until } = stop;
  const move = (at: PointerEvent): void => {
    if (!dragged.value && Math.hypot(at.clientX - x, at.clientY - y) < START_PX) return;
    at.preventDefault();
    getSelection()?.removeAllRanges();
    dragged.value = { id, spot: spotAt(at.clientX, at.clientY, id) };
  };
  const end = (): void => {
    const { spot = null } = dragged.value ?? {};
    stop.abort();
    dragged.value = null;
    if (spot) drop(spot);
  };
  addEventListener("pointermove", move, { signal: until });
  addEventListener("pointerup", end, { signal: until });
  for (const name of ["pointercancel", "blur"])
    addEventListener(name, () => (stop.abort(), (dragged.value = null)), { signal: until });
  addEventListener(
    "keydown",
    (key) => {
      if (key.key !== "Escape") return;
      stop.abort();
      dragged.value = null;
    },
    { signal: until },
  );
}

function spotAt(x: number, y: number, id: string): Spot | null {
  const under = document.elementFromPoint(x, y);
  const section = under?.closest<HTMLElement>("[data-section]");
  if (!section) return null;
  const name = section.dataset["section"]!;
  const panel = under?.closest<HTMLElement>("[data-panel]");
  if (!panel) return { section: name, beside: null };
  const beside = panel.dataset["panel"]!;
  if (beside === id) return null;
  const { left, width } = panel.getBoundingClientRect();
  return { section: name, beside, side: x < left + width / 2 ? "before" : "after" };
}

/** Follows the corner of a panel; `done` is called with the columns and rows that it covers then. */
export function resize(event: PointerEvent, panel: HTMLElement, done: (wide: number, tall: number) => void): void {
  event.preventDefault();
  event.stopPropagation();
  const grid = getComputedStyle(panel.parentElement!);
  const gap = Number.parseFloat(grid.columnGap) || 0;
  const column = Number.parseFloat(grid.gridTemplateColumns) || 1;
  const row = Number.parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--panel-h")) || 216;
  const { left, top } = panel.getBoundingClientRect();
  const stop = new AbortController();
  let [wide, tall] = [0, 0];
  addEventListener(
    "pointermove",
    (at) => {
      wide = Math.min(MOST_WIDE, Math.max(1, Math.round((at.clientX - left + gap) / (column + gap))));
      tall = Math.min(MOST_TALL, Math.max(1, Math.round((at.clientY - top + gap) / (row + gap))));
      done(wide, tall);
    },
    { signal: stop.signal },
  );
  for (const name of ["pointerup", "pointercancel", "blur"])
    addEventListener(name, () => stop.abort(), { signal: stop.signal });
}
