// Keys that act while no field has the focus.

import { change, view } from "../state.ts";

/** Whether keys go into a field. */
export function isTyping(target: EventTarget | null): target is HTMLElement {
  return (
    target instanceof HTMLInputElement ||
    target instanceof HTMLTextAreaElement ||
    target instanceof HTMLSelectElement ||
    (target instanceof HTMLElement && target.isContentEditable)
  );
}

/** The keys of pages with charts or filters. */
export function onChartKey(event: KeyboardEvent): void {
  const target = event.target;
  if (isTyping(target)) {
    if (event.key === "Escape") target.blur();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const field = { m: "metrics", M: "metrics", "/": "filter" }[event.key];
  if (field) {
    event.preventDefault();
    document.getElementById(field)?.focus();
  } else if (event.key === "l" || event.key === "L") change({ log: !view.value.log });
  else if (event.key === "0") change({ zoom: null });
}
