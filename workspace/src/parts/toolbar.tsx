// The settings of all charts of a page: the search, the axis, smoothing, the scale, the zoom.

import { METHOD_WORDS, METHODS, type Method } from "../model/smoothing.ts";
import { AXES, AXIS_WORDS, type Axis } from "../model/view.ts";
import { change, link, view } from "../state.ts";
import { Icon } from "./icon.tsx";

export function Toolbar() {
  const { q, axis, method, weight, log, cut, zoom } = view.value;
  return (
    <div class="bar">
      <label class="field search">
        <Icon name="search" />
        <input
          id="metrics"
          type="search"
          value={q}
          placeholder="Metrics, e.g. loss|acc"
          aria-label="Search metrics"
          onInput={(event) => change({ q: event.currentTarget.value })}
        />
      </label>
      <label class="btn pick">
        <span class="v">x</span>
        <select
          value={axis}
          aria-label="x-axis"
          onChange={(event) => change({ axis: event.currentTarget.value as Axis, zoom: null })}
        >
          {AXES.map((name) => (
            <option key={name} value={name}>
              {AXIS_WORDS[name]}
            </option>
          ))}
        </select>
      </label>
      <span class="btn pick lg">
        <span class="v">Smooth</span>
        <select
          value={method}
          aria-label="Smoothing"
          onChange={(event) => change({ method: event.currentTarget.value as Method })}
        >
          {METHODS.map((name) => (
            <option key={name} value={name}>
              {METHOD_WORDS[name]}
            </option>
          ))}
        </select>
        <input
          class="range"
          type="range"
          min="0"
          max="0.99"
          step="0.01"
          value={weight}
          disabled={method === "none"}
          aria-label="How much smoothing"
          onInput={(event) => change({ weight: Number(event.currentTarget.value) })}
        />
        <output>{weight.toFixed(2)}</output>
      </span>
      <button class="btn lg" aria-pressed={log} onClick={() => change({ log: !log })} title="Logarithmic y-axis (L)">
        Log y
      </button>
      <button
        class="btn lg"
        aria-pressed={cut === "last"}
        onClick={() => change({ cut: cut === "last" ? "first" : "last" })}
        title="Sections end at the last slash of a name instead of the first"
      >
        Last slash
      </button>
      {zoom && (
        <button class="btn" onClick={() => change({ zoom: null })} title="Double-click in a chart does the same (0)">
          <Icon name="undo" />
          Reset zoom
        </button>
      )}
      <span class="grow lg" />
      <CopyButton />
    </div>
  );
}

export function CopyButton() {
  return (
    <button
      class="btn quiet lg"
      aria-label="Copy link"
      title="Copy link"
      onClick={() => void navigator.clipboard?.writeText(link()).catch(() => undefined)}
    >
      <Icon name="link" />
    </button>
  );
}

/** Whether keys go into a field. */
export function isTyping(target: EventTarget | null): target is HTMLElement {
  return (
    target instanceof HTMLInputElement || target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement
  );
}

/** Keyboard shortcuts, active while no field has the focus. */
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
