// The button of the top bar that opens the palette; its code is loaded when it is opened first. And the keys that hold
// on every page: Ctrl K, and Ctrl Z for what has been changed of the view.

import { useSignal } from "@preact/signals";
import type { ComponentType } from "preact";
import { useEffect } from "preact/hooks";
import { redo, undo } from "../state.ts";
import { Icon } from "./icon.tsx";
import { isTyping } from "./keys.ts";

type Palette = ComponentType<{ close: () => void }>;
let loaded: Palette | null = null;

export function Find() {
  const open = useSignal(false);
  const ready = useSignal(loaded !== null);
  const show = (): void => {
    open.value = true;
    if (loaded) return;
    void import("./palette.tsx").then(
      (module) => {
        loaded = module.default;
        ready.value = true;
      },
      () => (open.value = false), // the server is away; the page says so itself
    );
  };
  useEffect(() => {
    const onKey = (event: KeyboardEvent): void => {
      if (!(event.ctrlKey || event.metaKey) || event.altKey || event.defaultPrevented) return;
      const key = event.key.toLowerCase();
      if (key === "k") show();
      else if (key === "z" && !isTyping(event.composedPath()[0] ?? null)) (event.shiftKey ? redo : undo)();
      else return;
      event.preventDefault();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
  const Shown = loaded;
  return (
    <>
      <button class="field find" aria-keyshortcuts="Control+K" onClick={show}>
        <Icon name="search" />
        <span class="words">Go to…</span>
        <span class="grow" />
        <kbd class="lg" aria-hidden="true">
          Ctrl K
        </kbd>
      </button>
      {open.value && ready.value && Shown && <Shown close={() => (open.value = false)} />}
    </>
  );
}
