/** A box that opens over the page, such as a list to choose from. */

import type { RefObject } from "preact";
import { useEffect, useRef } from "preact/hooks";

/** Returns the ref of the box. Its input gets the focus; Escape and a click outside of the box's parent call `close`. */
export function usePopover(close: () => void): RefObject<HTMLDivElement | null> {
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    box.current?.querySelector<HTMLElement>("input, select")?.focus();
    box.current?.scrollIntoView({ block: "nearest" });
    const outside = (event: Event): void => {
      if (event.target instanceof Node && !box.current?.parentElement?.contains(event.target)) close();
    };
    const escape = (event: KeyboardEvent): void => {
      if (event.key === "Escape") close();
    };
    addEventListener("pointerdown", outside);
    addEventListener("keydown", escape);
    return () => {
      removeEventListener("pointerdown", outside);
      removeEventListener("keydown", escape);
    };
  }, []);
  return box;
}
