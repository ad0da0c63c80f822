// The x-axis of charts. Pure.

/** A metric is an axis as "metric:epoch". */
export type Axis = "step" | "relative" | "time" | `metric:${string}`;
export const AXES = ["step", "relative", "time"] as const;
export const AXIS_WORDS = { step: "Step", relative: "Relative time", time: "Wall time" } as const;

/** The metric of an axis; null: it is an axis of steps or times. */
export const metricOf = (axis: Axis): string | null =>
  axis.startsWith("metric:") ? axis.slice("metric:".length) : null;
export const isTimed = (axis: Axis): axis is "relative" | "time" => axis === "relative" || axis === "time";

export function axisOf(text: string): Axis | undefined {
  if (text.startsWith("metric:") && text !== "metric:") return text as Axis;
  return AXES.find((axis) => axis === text);
}
