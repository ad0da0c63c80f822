// A form for the settings of a panel, of a section or of all charts. What is not chosen comes from the next wider one.

import type { Settings } from "../model/layout.ts";
import { METHOD_WORDS, METHODS, type Method } from "../model/smoothing.ts";
import { AXES, AXIS_WORDS, type Axis, metricOf } from "../model/view.ts";
import { usePopover } from "./popover.ts";

interface Props {
  title: string;
  /** What applies where nothing is chosen: "As the section". */
  inherit: string;
  settings: Settings;
  /** Metrics that can be the x-axis. */
  metrics: readonly string[];
  change: (settings: Settings) => void;
  close: () => void;
  /** Whether only the range of y is offered: the toolbar has the others. */
  rangeOnly?: boolean;
}

const MOST_AXES = 500;

export function SettingsForm({ title, inherit, settings, metrics, change, close, rangeOnly = false }: Props) {
  const box = usePopover(close);
  const set = (patch: { [key in keyof Settings]?: Settings[key] | undefined }): void => {
    const next = Object.entries({ ...settings, ...patch }).filter(([, value]) => value !== undefined);
    change(Object.fromEntries(next));
  };
  const { axis, method, weight, log, low, high } = settings;
  const own = axis === undefined ? null : metricOf(axis);
  const names = [...new Set([...(own === null ? [] : [own]), ...metrics.slice(0, MOST_AXES)])];
  const number = (text: string): number | undefined =>
    text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : undefined;
  const wrong = low !== undefined && high !== undefined && low >= high;
  return (
    <div class="pop set" ref={box} role="dialog" aria-label={title}>
      <h3>{title}</h3>
      {!rangeOnly && (
        <>
          <label>
            x-axis
            <select
              value={axis ?? ""}
              onChange={(event) => set({ axis: (event.currentTarget.value || undefined) as Axis | undefined })}
            >
              <option value="">{inherit}</option>
              {AXES.map((name) => (
                <option key={name} value={name}>
                  {AXIS_WORDS[name]}
                </option>
              ))}
              {names.map((name) => (
                <option key={name} value={`metric:${name}`}>
                  {name}
                </option>
              ))}
            </select>
          </label>
          <label>
            Smoothing
            <select
              value={method ?? ""}
              onChange={(event) => {
                const chosen = (event.currentTarget.value || undefined) as Method | undefined;
                set({ method: chosen, weight: chosen && chosen !== "none" ? (weight ?? 0.6) : undefined });
              }}
            >
              <option value="">{inherit}</option>
              {METHODS.map((name) => (
                <option key={name} value={name}>
                  {METHOD_WORDS[name]}
                </option>
              ))}
            </select>
          </label>
          {method !== undefined && method !== "none" && (
            <label>
              How much
              <span class="row">
                <input
                  class="range grow"
                  type="range"
                  min="0"
                  max="0.99"
                  step="0.01"
                  value={weight ?? 0}
                  onInput={(event) => set({ weight: Number(event.currentTarget.value) })}
                />
                <output>{(weight ?? 0).toFixed(2)}</output>
              </span>
            </label>
          )}
          <label>
            y-axis
            <select
              value={log === undefined ? "" : log ? "log" : "linear"}
              onChange={(event) =>
                set({ log: event.currentTarget.value === "" ? undefined : event.currentTarget.value === "log" })
              }
            >
              <option value="">{inherit}</option>
              <option value="linear">Linear</option>
              <option value="log">Logarithmic</option>
            </select>
          </label>
        </>
      )}
      <div class="row two">
        <label>
          Lowest y
          <input
            inputMode="decimal"
            placeholder="Automatic"
            value={low ?? ""}
            onChange={(event) => set({ low: number(event.currentTarget.value) })}
          />
        </label>
        <label>
          Highest y
          <input
            inputMode="decimal"
            placeholder="Automatic"
            value={high ?? ""}
            onChange={(event) => set({ high: number(event.currentTarget.value) })}
          />
        </label>
      </div>
      <p class="bad" role="status">
        {wrong && "The lowest y must be below the highest."}
      </p>
      <div class="row">
        <button class="btn" disabled={Object.keys(settings).length === 0} onClick={() => change({})}>
          {inherit}
        </button>
        <span class="grow" />
        <button class="btn pri" onClick={close}>
          Done
        </button>
      </div>
    </div>
  );
}
