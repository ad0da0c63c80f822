// The settings of all charts of a page: the search, the axis, smoothing, the scale, the zoom.

import type { ComponentChildren } from "preact";
import type { MetricNames } from "../data/api.ts";
import { METHOD_WORDS, METHODS, type Method } from "../model/smoothing.ts";
import { AXES, AXIS_WORDS, type Axis, metricOf } from "../model/view.ts";
import { canUndo, change, link, undo, view } from "../state.ts";
import { Icon } from "./icon.tsx";

/** How many metrics the list of x-axes has at most. */
const MOST_AXES = 500;

/** @param metrics those that can be the x-axis */
export function Toolbar({ metrics, children }: { metrics?: readonly string[]; children?: ComponentChildren }) {
  const { q, axis, method, weight, log, cut, zoom } = view.value;
  const chosen = metricOf(axis);
  const names = metrics?.slice(0, MOST_AXES) ?? [];
  if (chosen !== null && !names.includes(chosen)) names.unshift(chosen);
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
          {names.length > 0 && (
            <optgroup label="Metrics">
              {names.map((name) => (
                <option key={name} value={`metric:${name}`}>
                  {name}
                </option>
              ))}
            </optgroup>
          )}
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
          Reset zoom
        </button>
      )}
      <span class="grow lg" />
      {children}
      <UndoButton />
      <CopyButton />
    </div>
  );
}

/** The metrics that a toolbar offers as axes. */
export function axesOf(found: MetricNames | null): string[] {
  return found?.metrics.filter((metric) => !metric.hidden).map((metric) => metric.name) ?? [];
}

export function UndoButton() {
  return (
    <button class="btn quiet lg" aria-label="Undo" title="Undo (Ctrl Z)" disabled={!canUndo.value} onClick={undo}>
      <Icon name="undo" />
    </button>
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
