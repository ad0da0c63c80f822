// The colours of charts for a canvas, read from the style sheet, again whenever the theme changes.

import { signal } from "@preact/signals";
import { PALETTE } from "../model/colours.ts";

export interface Theme {
  lines: string[];
  ink: string;
  text: string;
  grid: string;
  axis: string;
  lane: string;
  surface: string;
  warn: string;
  bad: string;
  muted: string;
  accent: string;
  font: string;
  rawOpacity: number;
  dimOpacity: number;
}

export const theme = signal<Theme | null>(null);

export function readTheme(): Theme {
  const probe = document.createElement("i");
  document.body.append(probe);
  const colour = (name: string): string => {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  };
  const root = getComputedStyle(document.documentElement);
  const made: Theme = {
    lines: Array.from({ length: PALETTE }, (_, slot) => colour(`--c${slot + 1}`)),
    ink: colour("--text"),
    text: colour("--text-3"),
    grid: colour("--grid"),
    axis: colour("--axis"),
    lane: colour("--sunken"),
    surface: colour("--surface"),
    warn: colour("--warn"),
    bad: colour("--bad"),
    muted: colour("--text-2"),
    accent: colour("--accent"),
    font: `10.5px ${getComputedStyle(document.body).fontFamily}`,
    rawOpacity: Number(root.getPropertyValue("--raw-opacity")),
    dimOpacity: Number(root.getPropertyValue("--dim-opacity")),
  };
  probe.remove();
  return made;
}

/** The choice of the reader: "" follows the system. */
export function pinned(): "" | "light" | "dark" {
  const found = document.documentElement.dataset["theme"];
  return found === "light" || found === "dark" ? found : "";
}

export function pin(choice: "" | "light" | "dark"): void {
  if (choice) document.documentElement.dataset["theme"] = choice;
  else delete document.documentElement.dataset["theme"];
  try {
    if (choice) localStorage.setItem("stepwell-theme", choice);
    else localStorage.removeItem("stepwell-theme");
  } catch {
    // Storage may be forbidden; the choice then holds for this page.
  }
  theme.value = readTheme();
}

export function followTheme(): void {
  let stored: string | null = null;
  try {
    stored = localStorage.getItem("stepwell-theme");
  } catch {
    stored = null;
  }
  pin(stored === "light" || stored === "dark" ? stored : "");
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => (theme.value = readTheme()));
}
