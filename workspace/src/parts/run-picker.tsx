// A list from which a run is chosen by typing a part of its name.

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { type ApiError, isAbort, type Run, told } from "../data/api.ts";
import { findRuns } from "../data/find.ts";
import { slotOf, StateMark, Swatch } from "./marks.tsx";
import { usePopover } from "./popover.ts";

const PAUSE_MS = 150;
const MOST = 30;

interface Props {
  path: string;
  /** Runs that are chosen already. */
  without: ReadonlySet<string>;
  choose: (run: Run) => void;
  close: () => void;
}

export function RunPicker({ path, without, choose, close }: Props) {
  const text = useSignal("");
  const found = useSignal<readonly Run[] | null>(null);
  const error = useSignal<ApiError | null>(null);
  const box = usePopover(close);
  useEffect(() => {
    const abort = new AbortController();
    const timer = setTimeout(
      () =>
        void findRuns(path, text.value, MOST, abort.signal).then(
          (runs) => (found.value = runs),
          (problem: unknown) => !isAbort(problem) && (error.value = told(problem)),
        ),
      found.value === null ? 0 : PAUSE_MS,
    );
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [path, text.value]);
  const runs = found.value?.filter((run) => !without.has(run.id)) ?? [];
  const onKey = (event: KeyboardEvent): void => {
    if (event.key === "Enter" && runs[0] && event.target instanceof HTMLInputElement) choose(runs[0]);
  };
  return (
    <div class="pop pick-list" ref={box} role="dialog" aria-label="Add a run" onKeyDown={onKey}>
      <label class="field on">
        <input
          type="search"
          aria-label="Find a run"
          placeholder="A part of a name"
          value={text.value}
          onInput={(event) => (text.value = event.currentTarget.value)}
        />
      </label>
      <div class="opts">
        {runs.map((run) => (
          <button key={run.id} class="o" onClick={() => choose(run)}>
            <Swatch slot={slotOf(run)} />
            <span class="cut grow" title={run.display_name}>
              {run.display_name}
            </span>
            <StateMark state={run.state} />
          </button>
        ))}
        {error.value && <p class="dim">{error.value.message}</p>}
        {!error.value && found.value && runs.length === 0 && <p class="dim">No other run fits</p>}
      </div>
    </div>
  );
}
