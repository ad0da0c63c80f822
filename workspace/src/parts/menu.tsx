// A button that opens a menu: arrow keys move in it, Escape closes it and gives the focus back.

import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { Icon, type IconName } from "./icon.tsx";

export interface Item {
  word: string;
  run: () => void;
  /** The keys that do the same. */
  keys?: string;
  /** The last of its group. */
  last?: boolean;
  /** Why it is not possible; "": it is. */
  why?: string;
}

interface Props {
  label: string;
  icon: IconName;
  /** Asked for when the menu opens. */
  items: () => readonly Item[];
}

export function Menu({ label, icon, items }: Props) {
  const open = useSignal(false);
  const box = useRef<HTMLSpanElement>(null);
  const entries = (): HTMLElement[] => [...(box.current?.querySelectorAll<HTMLElement>("[role=menuitem]") ?? [])];
  useEffect(() => {
    if (!open.value) return undefined;
    entries()[0]?.focus();
    box.current?.querySelector(".menu")?.scrollIntoView({ block: "nearest" });
    const outside = (event: Event): void => {
      if (event.target instanceof Node && !box.current?.contains(event.target)) open.value = false;
    };
    addEventListener("pointerdown", outside);
    return () => removeEventListener("pointerdown", outside);
  }, [open.value]);
  const close = (): void => {
    open.value = false;
    box.current?.querySelector("button")?.focus();
  };
  const onKey = (event: KeyboardEvent): void => {
    if (!open.value) return;
    event.stopPropagation();
    if (event.key === "Escape") return close();
    if (event.key === "Tab") open.value = false;
    const all = entries();
    const at = all.indexOf(document.activeElement as HTMLElement);
    const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    all.at(next % all.length)?.focus();
  };
  return (
    <span class="anchor" ref={box} onKeyDown={onKey}>
      <button
        class="btn quiet mini"
        aria-label={label}
        aria-haspopup="menu"
        aria-expanded={open.value}
        onClick={() => (open.value = !open.value)}
      >
        <Icon name={icon} />
      </button>
      {open.value && (
        <div class="pop menu" role="menu" aria-label={label}>
          {items().map(({ word, run, why, keys, last }) => (
            <button
              key={word}
              role="menuitem"
              class={last ? "last" : ""}
              tabIndex={-1}
              aria-disabled={why ? true : undefined}
              title={why}
              onClick={() => {
                if (why) return;
                close();
                run();
              }}
            >
              {word}
              {keys && (
                <span class="key" aria-hidden="true">
                  {keys}
                </span>
              )}
            </button>
          ))}
        </div>
      )}
    </span>
  );
}
