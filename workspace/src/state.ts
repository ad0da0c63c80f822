// The current page and its view, as signals that are synchronised with the address bar.

import { signal } from "@preact/signals";
import { placeOf } from "./model/place.ts";
import { DEFAULT, fragment, parse, query, type View } from "./model/view.ts";

const ADDRESS_MS = 300;
const MOST_UNDONE = 100;

const first = parse(location.search, location.hash);
export const place = signal(placeOf(location.pathname));
export const view = signal<View>(first.view);
/** Invalid parts of the link, such as "w=abc". */
export const ignored = signal<string[]>(first.ignored);
let rest = first.rest;
let timer = 0;
/** The views before the changes of this page, and those that were undone. */
let past: View[] = [];
let future: View[] = [];
export const canUndo = signal(false);

/** Opens one of our pages. */
export function go(href: string): void {
  settle();
  history.pushState(null, "", href);
  arrive();
  scrollTo(0, 0);
}

/**
 * Changes the view; the address follows a moment later. Changes until then are undone together, such as typed letters.
 *
 * @param apart whether this one is undone by itself
 */
export function change(patch: Partial<View>, apart = false): void {
  if (timer === 0 || apart) past = [...past.slice(1 - MOST_UNDONE), view.value];
  future = [];
  show({ ...view.value, ...patch });
}

/** Changes the view without a step of undo: what the page has found out, not what the reader has done. */
export function adopt(patch: Partial<View>): void {
  view.value = { ...view.value, ...patch };
  if (timer === 0) settle();
}

/** Takes the last change of the view back. */
export function undo(): void {
  const before = past.pop();
  if (!before) return;
  future.push(view.value);
  show(before);
}

export function redo(): void {
  const after = future.pop();
  if (!after) return;
  past.push(view.value);
  show(after);
}

function show(shown: View): void {
  view.value = shown;
  canUndo.value = past.length > 0;
  clearTimeout(timer);
  timer = window.setTimeout(settle, ADDRESS_MS);
}

/** The URL of the current view, for copying. */
export function link(): string {
  settle();
  return location.href;
}

/** The query with which another page of the project keeps the view. */
export function kept(...keys: (keyof View)[]): string {
  const patch = Object.fromEntries(keys.map((key) => [key, view.value[key]]));
  return query({ ...DEFAULT, ...patch });
}

function settle(): void {
  clearTimeout(timer);
  timer = 0;
  const wanted = location.pathname + query(view.value, rest) + fragment(view.value);
  if (wanted !== location.pathname + location.search + location.hash) history.replaceState(null, "", wanted);
}

function arrive(): void {
  const parsed = parse(location.search, location.hash);
  place.value = placeOf(location.pathname);
  view.value = parsed.view;
  ignored.value = parsed.ignored;
  rest = parsed.rest;
  [past, future] = [[], []];
  canUndo.value = false;
}

addEventListener("popstate", arrive);
addEventListener("click", (event) => {
  const link = event.target instanceof Element ? event.target.closest("a[href]") : null;
  if (!(link instanceof HTMLAnchorElement) || link.origin !== location.origin || link.target || link.download) return;
  if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.defaultPrevented) return;
  if (link.pathname.startsWith("/v1/")) return;
  event.preventDefault();
  go(link.pathname + link.search + link.hash);
});
