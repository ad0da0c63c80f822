// Goes to a page, a view, a run, a metric or a project by a part of its name (Ctrl K).

import { useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { Targets } from "../data/targets.ts";
import { found, type Target } from "../model/palette.ts";
import { go, place } from "../state.ts";
import { Icon } from "./icon.tsx";
import { Swatch } from "./marks.tsx";

export default function Palette({ close }: { close: () => void }) {
  const targets = useMemo(() => new Targets(place.peek()), []);
  const text = useSignal("");
  const at = useSignal(0);
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const before = document.activeElement;
    dialog.current?.showModal();
    return () => {
      targets.close();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  const shown = found(targets.found.value, text.value);
  const chosen = Math.min(at.value, shown.length - 1);
  const open = (target: Target | undefined): void => {
    if (!target) return;
    close();
    go(target.href);
  };
  const onKey = (event: KeyboardEvent): void => {
    event.stopPropagation();
    const next = { ArrowDown: chosen + 1, ArrowUp: chosen - 1 }[event.key];
    if (event.key === "Enter") open(shown[chosen]);
    if (event.key === "k" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      close();
    }
    if (next === undefined) return;
    event.preventDefault();
    at.value = (next + shown.length) % Math.max(1, shown.length);
    document.getElementById(`go-${at.value}`)?.scrollIntoView({ block: "nearest" });
  };
  return (
    <dialog
      class="palette pop"
      ref={dialog}
      aria-label="Go to"
      onClose={close}
      onKeyDown={onKey}
      onClick={(event) => event.target === dialog.current && close()}
    >
      <label class="field">
        <Icon name="search" />
        <input
          role="combobox"
          aria-label="Go to a run, metric or page"
          aria-expanded="true"
          aria-controls="go-list"
          aria-activedescendant={shown.length > 0 ? `go-${chosen}` : ""}
          autocomplete="off"
          spellcheck={false}
          placeholder="A run, a metric, a page"
          value={text.value}
          onInput={(event) => {
            text.value = event.currentTarget.value;
            at.value = 0;
            targets.look(text.value);
          }}
        />
      </label>
      <div id="go-list" role="listbox" aria-label="What fits" class="list">
        {shown.map((target, i) => (
          <div
            key={`${target.kind} ${target.href}`}
            id={`go-${i}`}
            role="option"
            aria-selected={i === chosen}
            class="o"
            onClick={() => open(target)}
          >
            {target.slot === undefined ? null : <Swatch slot={target.slot} />}
            <span class={`cut grow${target.kind === "Metric" ? " mono" : ""}`} title={target.title}>
              {target.title}
            </span>
            {target.more && target.more !== target.title && <span class="dim cut">{target.more}</span>}
            <span class="dim kind">{target.kind}</span>
          </div>
        ))}
      </div>
      {shown.length === 0 && <p class="dim none">Nothing has this in its name</p>}
    </dialog>
  );
}
