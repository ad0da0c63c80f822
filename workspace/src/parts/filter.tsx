// The filter field for runs; an invalid filter shows an error and leaves the list unchanged.

import { useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import type { Project } from "../data/project.ts";
import { change, view } from "../state.ts";
import { Icon } from "./icon.tsx";

const PAUSE_MS = 250;

export function FilterField({ project, placeholder }: { project: Project; placeholder: string }) {
  const text = useSignal<string | null>(null);
  const timer = useRef(0);
  const error = project.filterError.value;
  const shown = text.value ?? view.value.filter;
  const apply = (wanted: string): void => {
    clearTimeout(timer.current);
    text.value = null;
    change({ filter: wanted });
  };
  return (
    <div class="grow filter">
      <label class={`field${error && text.value === null ? " wrong" : ""}`}>
        <Icon name="filter" />
        <input
          id="filter"
          type="text"
          spellcheck={false}
          autocomplete="off"
          value={shown}
          placeholder={placeholder}
          aria-label="Filter runs"
          aria-invalid={error !== null}
          aria-describedby="filter-error"
          onInput={(event) => {
            const wanted = event.currentTarget.value;
            text.value = wanted;
            clearTimeout(timer.current);
            timer.current = window.setTimeout(() => apply(wanted), PAUSE_MS);
          }}
          onKeyDown={(event) => event.key === "Enter" && apply(event.currentTarget.value)}
        />
        {shown !== "" && (
          <button class="btn quiet mini" aria-label="Clear the filter" onClick={() => apply("")}>
            <Icon name="x" />
          </button>
        )}
      </label>
      <span id="filter-error" class="why" role="status">
        {text.value === null && error}
      </span>
    </div>
  );
}
