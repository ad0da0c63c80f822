// The charts of a page: sections that fold, pages of panels in those that have many, and one panel in full screen.

import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import type { Mark } from "../chart/paint.ts";
import type { Run } from "../data/api.ts";
import type { Project } from "../data/project.ts";
import * as format from "../model/format.ts";
import {
  added,
  arrange,
  type Placed,
  type PlacedSection,
  putBack,
  type Settings,
  settingsOf,
  withSection,
} from "../model/layout.ts";
import { type Axis } from "../model/view.ts";
import { change, view } from "../state.ts";
import { ArrangedPanel, editing } from "./arranged.tsx";
import { dragged } from "./drag.ts";
import { Icon } from "./icon.tsx";
import { Panel, type Trace } from "./panel.tsx";
import { SettingsForm } from "./settings.tsx";

const PER_PAGE = 48;
const NO_RUNS: readonly Run[] = [];
const NO_MARKS: readonly Mark[] = [];

interface Props {
  project: Project;
  runs: readonly Run[];
  marks?: readonly Mark[];
}

/** What panels need of the page. */
interface Context {
  project: Project;
  names: readonly string[];
  sections: readonly PlacedSection[];
  traces: (panel: Placed) => readonly Trace[];
  settings: (section: PlacedSection, panel: Placed) => Settings;
  marks: readonly Mark[];
}

export function Sections({ project, runs, marks = NO_MARKS }: Props) {
  const { q, cut, full, axis } = view.value;
  const found = project.metrics.value;
  const layout = project.layout.shown.value;
  const names = useMemo(
    () => found?.metrics.filter((metric) => !metric.hidden).map((metric) => metric.name) ?? [],
    [found],
  );
  // The same lists as long as nothing changes, so that a hundred panels are not redrawn in vain.
  const owners = useMemo(() => {
    const known = new Map(runs.map((run) => [run.id, run]));
    return new Map(
      found?.metrics.map((metric) => [
        metric.name,
        metric.runs.map((at) => known.get(found.runs[at]!)).filter((run) => run !== undefined),
      ]),
    );
  }, [found, runs]);
  const axes = useMemo(
    () => new Map(found?.metrics.flatMap(({ name, x }): [string, Axis][] => (x ? [[name, `metric:${x}`]] : []))),
    [found],
  );
  const sections = useMemo(() => arrange(names, cut, layout, q), [names, cut, layout, q]);
  // What was chosen, for the panel or on the page, goes before what the run has defined.
  const settings = (section: PlacedSection, panel: Placed): Settings => {
    const chosen = settingsOf(layout, section, panel);
    const defined = new Set(panel.metrics.map((metric) => axes.get(metric)));
    const [own] = defined.size === 1 ? defined : [];
    return chosen.axis === undefined && own !== undefined && axis === "step" ? { ...chosen, axis: own } : chosen;
  };
  const traces = (panel: Placed): readonly Trace[] =>
    panel.metrics.map((metric) => ({ metric, runs: owners.get(metric) ?? NO_RUNS }));
  const context: Context = { project, names, sections, traces, settings, marks };
  if (found && names.length > 0 && sections.length === 0)
    return (
      <div class="empty">
        <h1>No metric fits</h1>
        <p>
          None of {format.count(names.length)} names has <code>{q}</code> in it.
        </p>
        <button class="btn" onClick={() => change({ q: "" })}>
          Show all
        </button>
      </div>
    );
  const order = sections.flatMap((section) => section.panels.map((panel) => ({ section, panel })));
  const shown = order.find(({ panel }) => panel.id === full);
  return (
    <div class={dragged.value ? "dragging" : ""}>
      {sections.map((section) => (
        <Fold key={section.name} section={section} context={context} />
      ))}
      {shown && <FullScreen {...shown} context={context} order={order.map(({ panel }) => panel.id)} />}
    </div>
  );
}

function Fold({ section, context }: { section: PlacedSection; context: Context }) {
  const { project, names } = context;
  const { layout } = project;
  const open = useSignal(true);
  const form = useSignal(false);
  const page = useSignal(0);
  const { name, panels, gone } = section;
  const title = name || "Charts";
  const pages = Math.max(1, Math.ceil(panels.length / PER_PAGE));
  const at = Math.min(page.value, pages - 1);
  const from = at * PER_PAGE;
  const aimed = dragged.value?.spot?.section === name && dragged.value.spot.beside === null;
  const add = (): void => {
    const [made, id] = added(layout.shown.peek(), { section: name });
    editing.value = { id, form: "metrics" };
    open.value = true;
    page.value = Math.floor(panels.length / PER_PAGE);
    change({ layout: made }, true);
  };
  return (
    <section class={`sec${aimed ? " aimed" : ""}`} data-section={name}>
      <header>
        <button class="fold" aria-expanded={open.value} onClick={() => (open.value = !open.value)}>
          <Icon name={open.value ? "down" : "right"} />
          <h2>{title}</h2>
          <span>{format.counted(panels.length, "panel")}</span>
        </button>
        {gone.length > 0 && (
          <button
            class="link"
            title={gone.map((panel) => panel.title).join("\n")}
            onClick={() => change({ layout: putBack(layout.shown.peek(), gone) }, true)}
          >
            Put back {gone.length} removed
          </button>
        )}
        <span class="row">
          {open.value && pages > 1 && (
            <>
              <button
                class="btn quiet mini"
                aria-label="Previous panels"
                disabled={at === 0}
                onClick={() => (page.value = at - 1)}
              >
                <Icon name="left" />
              </button>
              {from + 1}–{Math.min(from + PER_PAGE, panels.length)}
              <button
                class="btn quiet mini"
                aria-label="Next panels"
                disabled={at === pages - 1}
                onClick={() => (page.value = at + 1)}
              >
                <Icon name="right" />
              </button>
            </>
          )}
          <span class="anchor">
            <button
              class="btn quiet mini"
              aria-label={`Settings of ${title}`}
              title="Settings of this section"
              aria-expanded={form.value}
              aria-pressed={Object.keys(section.settings).length > 0}
              onClick={() => (form.value = !form.value)}
            >
              <Icon name="gear" />
            </button>
            {form.value && (
              <SettingsForm
                title={`Settings of ${title}`}
                inherit="As the page"
                settings={section.settings}
                metrics={names}
                change={(given) => change({ layout: withSection(layout.shown.peek(), name, given) })}
                close={() => (form.value = false)}
              />
            )}
          </span>
          <button class="btn quiet mini" aria-label={`Add a panel to ${title}`} title="Add a panel" onClick={add}>
            <Icon name="plus" />
          </button>
        </span>
      </header>
      {open.value && (
        <div class="grid">
          {panels.slice(from, from + PER_PAGE).map((panel) => (
            <ArrangedPanel
              key={panel.id}
              project={project}
              metrics={names}
              sections={context.sections}
              section={section}
              panel={panel}
              traces={context.traces(panel)}
              settings={context.settings(section, panel)}
              marks={context.marks}
            />
          ))}
        </div>
      )}
    </section>
  );
}

interface FullProps {
  context: Context;
  section: PlacedSection;
  panel: Placed;
  /** All panels, in the order in which the arrow keys go through them. */
  order: readonly string[];
}

function FullScreen({ context, section, panel, order }: FullProps) {
  const { id, title } = panel;
  useEffect(() => {
    const before = document.activeElement;
    return () => before instanceof HTMLElement && before.focus();
  }, []);
  useEffect(() => {
    const onKey = (event: KeyboardEvent): void => {
      if (event.key === "Escape") change({ full: "" });
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      // From the view: the next key may come before this panel has been drawn.
      const next = step ? order[order.indexOf(view.peek().full) + step] : undefined;
      if (next && !(event.target instanceof HTMLInputElement)) change({ full: next });
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [id, order.join("\n")]);
  return (
    <div class="over" role="dialog" aria-modal="true" aria-label={title}>
      <Panel
        key={id}
        project={context.project}
        id={id}
        title={title}
        traces={context.traces(panel)}
        settings={context.settings(section, panel)}
        full
        marks={context.marks}
      />
    </div>
  );
}
