// A list of options that are found by typing, and chosen one by one.

import { useSignal } from "@preact/signals";
import { usePopover } from "./popover.ts";

const MOST = 200;

export interface Options {
  title: string;
  /** Name → what is shown of it. */
  options: readonly (readonly [string, string])[];
}

interface Props {
  label: string;
  find: string;
  lists: readonly Options[];
  chosen: readonly string[];
  toggle: (name: string) => void;
  reset: () => void;
  close: () => void;
}

export function Picker({ label, find, lists, chosen, toggle, reset, close }: Props) {
  const text = useSignal("");
  const box = usePopover(close);
  const wanted = text.value.toLowerCase();
  const found = lists.map(({ title, options }) => ({
    title,
    options: options.filter(([, shown]) => shown.toLowerCase().includes(wanted)),
  }));
  const count = (all: readonly Options[]): number => all.reduce((sum, { options }) => sum + options.length, 0);
  return (
    <div class="pop pick-list" ref={box} role="dialog" aria-label={label}>
      <label class="field on">
        <input
          type="search"
          aria-label={find}
          value={text.value}
          onInput={(event) => (text.value = event.currentTarget.value)}
        />
        <span class="dim">
          {count(found)} of {count(lists)}
        </span>
      </label>
      <div class="opts">
        {found.map(
          ({ title, options }) =>
            options.length > 0 && (
              <div key={title}>
                <h3>{title}</h3>
                {options.slice(0, MOST).map(([name, shown]) => (
                  <label key={name} class="o">
                    <input type="checkbox" checked={chosen.includes(name)} onChange={() => toggle(name)} />
                    <span class="mono cut">{shown}</span>
                  </label>
                ))}
              </div>
            ),
        )}
        {count(found) === 0 && <p class="dim">No column fits</p>}
      </div>
      <div class="row">
        <span class="grow" />
        <button class="link" onClick={reset}>
          Reset
        </button>
      </div>
    </div>
  );
}
