// What a page says about its layout: that a link brought another one, or that a change could not be stored. And the
// settings of all of its charts, beside those of the toolbar.

import { useSignal } from "@preact/signals";
import type { Project } from "../data/project.ts";
import { change } from "../state.ts";
import { Icon } from "./icon.tsx";
import { Note } from "./marks.tsx";
import { SettingsForm } from "./settings.tsx";

const NONE: readonly string[] = [];

export function LayoutNote({ project: { layout } }: { project: Project }) {
  const error = layout.error.value;
  if (error)
    return (
      <Note
        kind="warn"
        icon="warn"
        action={{
          word: error.code === "layout_changed" ? "Read it again" : "Try again",
          run: () => layout.retry(),
        }}
      >
        <b class="strong">The layout is not saved.</b> {[error.message, error.hint].filter(Boolean).join(" ")} The link
        of this page has it.
      </Note>
    );
  if (layout.apart.value)
    return (
      <Note icon="link" action={{ word: "Show the project's layout", run: () => layout.follow() }}>
        <b class="strong">This link has a layout of its own.</b> Changes stay in the link.{" "}
        <button class="link" onClick={() => layout.keep()}>
          Make it the project's layout
        </button>
      </Note>
    );
  return null;
}

export function PageSettings({ project: { layout } }: { project: Project }) {
  const open = useSignal(false);
  const { all } = layout.shown.value;
  return (
    <span class="anchor lg">
      <button
        class="btn quiet"
        aria-label="Range of all charts"
        title="Range of all charts"
        aria-expanded={open.value}
        aria-pressed={Object.keys(all).length > 0}
        onClick={() => (open.value = !open.value)}
      >
        <Icon name="gear" />
      </button>
      {open.value && (
        <SettingsForm
          title="Range of all charts"
          inherit="Automatic"
          settings={all}
          metrics={NONE}
          change={(given) => change({ layout: { ...layout.shown.peek(), all: given } })}
          close={() => (open.value = false)}
          rangeOnly
        />
      )}
    </span>
  );
}
