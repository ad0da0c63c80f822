// A panel that has a place in the layout: moved, resized, duplicated, removed and set up, with the pointer or by keyboard.

import { signal } from "@preact/signals";
import type { Mark } from "../chart/paint.ts";
import type { Project } from "../data/project.ts";
import {
  type Change,
  duplicated,
  type Layout,
  moved,
  type Placed,
  type PlacedSection,
  removed,
  resized,
  type Settings,
  type Spot,
  withPanel,
} from "../model/layout.ts";
import { change, view } from "../state.ts";
import { drag, dragged, resize } from "./drag.ts";
import type { Item } from "./menu.tsx";
import { Panel, type Trace } from "./panel.tsx";
import { PanelEdit } from "./panel-edit.tsx";
import { SettingsForm } from "./settings.tsx";

/** The panel whose form is open. */
export const editing = signal<{ id: string; form: "settings" | "metrics" } | null>(null);

interface Props {
  project: Project;
  /** All metrics of the project, from which layouts are made. */
  metrics: readonly string[];
  sections: readonly PlacedSection[];
  section: PlacedSection;
  panel: Placed;
  traces: readonly Trace[];
  settings: Settings;
  marks: readonly Mark[];
}

export function ArrangedPanel({ project, metrics, sections, section, panel, traces, settings, marks }: Props) {
  const { layout } = project;
  const { cut } = view.value;
  const { id, title } = panel;
  const form = editing.value?.id === id ? editing.value.form : "";
  const close = (): void => void (editing.value = null);
  const { wide = 1, tall = 1 } = panel.change;
  const put = (next: Layout): void => change({ layout: next }, true);
  const move = (spot: Spot): void => {
    put(moved(layout.shown.peek(), metrics, cut, id, spot));
    focusLater(id);
  };
  const size = (w: number, h: number): void => {
    const next = resized(layout.shown.peek(), panel, w, h);
    if (w !== wide || h !== tall) put(next);
  };
  const list = section.panels;
  const at = list.indexOf(panel);
  const [before, after] = [list[at - 1], list[at + 1]];
  const here = sections.indexOf(section);
  const earlier = (): void => before && move({ section: section.name, beside: before.id, side: "before" });
  const later = (): void => after && move({ section: section.name, beside: after.id, side: "after" });
  const toSection = (step: number): void => {
    const next = sections[here + step];
    if (next) move({ section: next.name, beside: null });
  };
  const items = (): Item[] => [
    { word: "Settings…", run: () => (editing.value = { id, form: "settings" }) },
    panel.made
      ? { word: "Metrics…", run: () => (editing.value = { id, form: "metrics" }) }
      : {
          word: "Add metrics…",
          run: () => {
            const what: Change = { ...panel.change, metrics: panel.metrics };
            const [made, copy] = duplicated(layout.shown.peek(), metrics, cut, section.name, {
              ...panel,
              change: what,
            });
            put(removed(made, metrics, cut, panel));
            editing.value = { id: copy, form: "metrics" };
          },
        },
    { word: "Move earlier", keys: "Ctrl Shift ←", why: before ? "" : "It is the first of its section", run: earlier },
    { word: "Move later", keys: "Ctrl Shift →", why: after ? "" : "It is the last of its section", run: later },
    ...sections
      .filter((other) => other !== section)
      .slice(0, 6)
      .map(({ name }) => ({
        word: `Move to ${name || "Charts"}`,
        run: () => move({ section: name, beside: null }),
      })),
    {
      word: "Wider",
      keys: "Alt Shift →",
      why: wide < 4 ? "" : "It covers the whole width",
      run: () => size(wide + 1, tall),
    },
    {
      word: "Narrower",
      keys: "Alt Shift ←",
      why: wide > 1 ? "" : "It has the smallest width",
      run: () => size(wide - 1, tall),
    },
    {
      word: "Taller",
      keys: "Alt Shift ↓",
      why: tall < 3 ? "" : "It has the largest height",
      run: () => size(wide, tall + 1),
    },
    {
      word: "Lower",
      keys: "Alt Shift ↑",
      why: tall > 1 ? "" : "It has the smallest height",
      run: () => size(wide, tall - 1),
    },
    {
      word: "Duplicate",
      run: () => put(duplicated(layout.shown.peek(), metrics, cut, section.name, panel)[0]),
    },
    { word: "Remove", run: () => put(removed(layout.shown.peek(), metrics, cut, panel)), last: true },
  ];
  const onKeyDown = (event: KeyboardEvent): void => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step || !event.shiftKey || event.metaKey || event.ctrlKey === event.altKey) return;
    if (event.target instanceof Element && event.target.closest(".pop")) return;
    event.preventDefault();
    event.stopPropagation();
    const [x, y] = step as [number, number];
    if (event.altKey) size(Math.min(4, Math.max(1, wide + x)), Math.min(3, Math.max(1, tall + y)));
    else if (x !== 0) (x < 0 ? earlier : later)();
    else toSection(y);
  };
  const drop = dragged.value?.spot;
  const aim = drop && drop.beside === id ? ` drop-${drop.side}` : "";
  const lifted = dragged.value?.id === id ? " lifted" : "";
  return (
    <Panel
      project={project}
      id={id}
      title={title}
      traces={traces}
      settings={settings}
      marks={marks}
      note={panel.more > 0 ? `first ${panel.metrics.length} of ${panel.metrics.length + panel.more} metrics` : ""}
      frame={{
        class: `wide-${wide} tall-${tall}${aim}${lifted}`,
        items,
        onKeyDown,
        onGrab: (event) => drag(event, id, move),
        children: (
          <>
            <i
              class="grip"
              onPointerDown={(event) => {
                const figure = event.currentTarget.closest<HTMLElement>("figure");
                if (figure) resize(event, figure, (w, h) => resizeNow(layout.shown.peek(), panel, w, h));
              }}
            />
            {form === "settings" && (
              <SettingsForm
                title={`Settings of ${title}`}
                inherit="As the section"
                settings={panel.change.settings ?? {}}
                metrics={metrics}
                change={(given) => {
                  const { settings: _, ...rest } = panel.change;
                  const own = Object.keys(given).length > 0 ? { settings: given } : {};
                  put(withPanel(layout.shown.peek(), id, { ...rest, ...own }));
                }}
                close={close}
              />
            )}
            {form === "metrics" && (
              <PanelEdit
                panel={panel}
                metrics={metrics}
                change={(given) => put(withPanel(layout.shown.peek(), id, given))}
                close={close}
              />
            )}
          </>
        ),
      }}
    />
  );
}

function resizeNow(layout: Layout, panel: Placed, wide: number, tall: number): void {
  const now = layout.panels.get(panel.id) ?? panel.change;
  if (wide === (now.wide ?? 1) && tall === (now.tall ?? 1)) return;
  change({ layout: resized(layout, { ...panel, change: now }, wide, tall) }, true);
}

/** A panel that goes to another section is another element there: it gets the focus back as soon as it is drawn. */
function focusLater(id: string, frames = 120): void {
  requestAnimationFrame(() => {
    const panel = document.querySelector<HTMLElement>(`[data-panel="${CSS.escape(id)}"]`);
    if (panel?.contains(document.activeElement)) return;
    const plot = panel?.querySelector<HTMLElement>(".plot");
    if (plot) {
      plot.focus();
      panel!.scrollIntoView({ block: "nearest" });
    } else if (frames > 0) focusLater(id, frames - 1);
  });
}
