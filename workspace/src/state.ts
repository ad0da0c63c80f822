// The current page and its view, as signals that are synchronised with the address bar.

import { signal } from "@preact/signals";
import { placeOf } from "./model/place.ts";
import { DEFAULT, parse, query, type View } from "./model/view.ts";

const ADDRESS_MS = 300;

const first = parse(location.search);
export const place = signal(placeOf(location.pathname));
export const view = signal<View>(first.view);
/** Invalid parts of the link, such as "w=abc". */
export const ignored = signal<string[]>(first.ignored);
let rest = first.rest;
let timer = 0;

/** Opens one of our pages. */
export function go(href: string): void {
  settle();
  history.pushState(null, "", href);
  arrive();
  scrollTo(0, 0);
}

/** Changes the view; the address follows a moment later. */
export function change(patch: Partial<View>): void {
  view.value = { ...view.value, ...patch };
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
  const wanted = location.pathname + query(view.value, rest);
  if (wanted !== location.pathname + location.search) history.replaceState(null, "", wanted);
}

function arrive(): void {
  const parsed = parse(location.search);
  place.value = placeOf(location.pathname);
  view.value = parsed.view;
  ignored.value = parsed.ignored;
  rest = parsed.rest;
}

addEventListener("popstate", arrive);
addEventListener("click", (event) => {
  const link = event.target instanceof Element ? event.target.closest("a[href]") : null;
  if (!(link instanceof HTMLAnchorElement) || link.origin !== location.origin || link.target || link.download) return;
  if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.defaultPrevented) return;
  if (link.pathname.startsWith("/v1/")) return;
  event.preventDefault();
  go(link.pathname + link.search);
});
