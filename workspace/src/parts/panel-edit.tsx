// Which metrics a panel shows: some that are chosen, or all that match a regular expression; and its title.

import { useSignal } from "@preact/signals";
import * as format from "../model/format.ts";
import { type Change, MOST_METRICS, type Placed } from "../model/layout.ts";
import { isPattern, search } from "../model/sections.ts";
import { usePopover } from "./popover.ts";

interface Props {
  panel: Placed;
  metrics: readonly string[];
  change: (change: Change) => void;
  close: () => void;
}

const LISTED = 100;

export function PanelEdit({ panel: { change: now, metrics: drawn, title }, metrics, change, close }: Props) {
  const box = usePopover(close);
  const by = useSignal<"list" | "pattern">(now.pattern === undefined ? "list" : "pattern");
  const q = useSignal("");
  const chosen = now.metrics ?? drawn;
  const listed = search(metrics, q.value);
  const pattern = now.pattern ?? "";
  const { metrics: _, pattern: __, ...rest } = now;
  const toggle = (name: string): void =>
    change({ ...rest, metrics: chosen.includes(name) ? chosen.filter((one) => one !== name) : [...chosen, name] });
  const matching = pattern === "" ? [] : search(metrics, pattern);
  return (
    <div class="pop set" ref={box} role="dialog" aria-label={`Metrics of ${title}`}>
      <label>
        Title
        <input
          value={now.title ?? ""}
          placeholder={title}
          onInput={(event) => {
            const { title: ___, ...others } = now;
            const text = event.currentTarget.value;
            change(text === "" ? others : { ...others, title: text });
          }}
        />
      </label>
      <div class="seg" role="group" aria-label="Metrics by">
        <button aria-pressed={by.value === "list"} onClick={() => (by.value = "list")}>
          Chosen metrics
        </button>
        <button aria-pressed={by.value === "pattern"} onClick={() => (by.value = "pattern")}>
          Regular expression
        </button>
      </div>
      {by.value === "list" ? (
        <>
          <input
            type="search"
            aria-label="Search metrics to show"
            placeholder="Search metrics"
            value={q.value}
            onInput={(event) => (q.value = event.currentTarget.value)}
          />
          <div class="opts" role="group" aria-label="Metrics">
            {listed.slice(0, LISTED).map((name) => (
              <label key={name} class="o">
                <input type="checkbox" checked={chosen.includes(name)} onChange={() => toggle(name)} />
                <span class="cut" title={name}>
                  {name}
                </span>
              </label>
            ))}
            {listed.length > LISTED && <p class="dim">{format.count(listed.length - LISTED)} more; search for them.</p>}
          </div>
        </>
      ) : (
        <>
          <input
            class="mono"
            aria-label="Regular expression"
            placeholder="^(train|val)/loss$"
            value={pattern}
            onInput={(event) => {
              const text = event.currentTarget.value;
              change(text === "" ? { ...rest, metrics: [] } : { ...rest, pattern: text });
            }}
          />
          <p class="dim" role="status">
            {pattern === ""
              ? "Metrics that are logged later join as soon as they match."
              : !isPattern(pattern)
                ? "This is no regular expression; names that contain it as text are shown."
                : `${format.counted(matching.length, "metric")} ${matching.length === 1 ? "matches" : "match"}.`}
            {matching.length > MOST_METRICS && ` The first ${MOST_METRICS} are drawn.`}
          </p>
        </>
      )}
      <div class="row">
        <span class="grow" />
        <button class="btn pri" onClick={close}>
          Done
        </button>
      </div>
    </div>
  );
}
