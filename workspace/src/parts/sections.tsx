// The charts of a page: sections that fold, pages of panels in those that have many, and one panel in full screen.

import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import type { Mark } from "../chart/paint.ts";
import type { Run } from "../data/api.ts";
import type { Project } from "../data/project.ts";
import * as format from "../model/format.ts";
import { type Axis } from "../model/view.ts";
import { search, type Section, sections } from "../model/sections.ts";
import { change, view } from "../state.ts";
import { Icon } from "./icon.tsx";
import { Panel } from "./panel.tsx";

const PER_PAGE = 48;
const NO_RUNS: readonly Run[] = [];
const NO_MARKS: readonly Mark[] = [];

interface Props {
  project: Project;
  runs: readonly Run[];
  marks?: readonly Mark[];
}

export function Sections({ project, runs, marks }: Props) {
  const { q, cut, full } = view.value;
  const found = project.metrics.value;
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
  const having = (metric: string): readonly Run[] => owners.get(metric) ?? NO_RUNS;
  const axes = useMemo(
    () => new Map(found?.metrics.flatMap(({ name, x }): [string, Axis][] => (x ? [[name, `metric:${x}`]] : []))),
    [found],
  );
  // What is chosen on the page goes before what the run has defined.
  const axisOf = (metric: string): { axis?: Axis } => {
    const axis = view.value.axis === "step" ? axes.get(metric) : undefined;
    return axis === undefined ? {} : { axis };
  };
  const shown = search(names, q);
  const made = sections(shown, cut);
  if (found && names.length > 0 && shown.length === 0)
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
  return (
    <>
      {made.map((section) => (
        <Fold
          key={section.name}
          section={section}
          project={project}
          having={having}
          axisOf={axisOf}
          marks={marks ?? NO_MARKS}
        />
      ))}
      {full && names.includes(full) && (
        <FullScreen
          project={project}
          metric={full}
          order={made.flatMap((section) => section.metrics)}
          runs={having(full)}
          {...axisOf(full)}
          marks={marks ?? NO_MARKS}
        />
      )}
    </>
  );
}

interface FoldProps {
  section: Section;
  project: Project;
  having: (metric: string) => readonly Run[];
  axisOf: (metric: string) => { axis?: Axis };
  marks: readonly Mark[];
}

function Fold({ section, project, having, axisOf, marks }: FoldProps) {
  const open = useSignal(true);
  const page = useSignal(0);
  const { metrics } = section;
  const pages = Math.ceil(metrics.length / PER_PAGE);
  const at = Math.min(page.value, pages - 1);
  const from = at * PER_PAGE;
  return (
    <section class="sec">
      <header>
        <button class="fold" aria-expanded={open.value} onClick={() => (open.value = !open.value)}>
          <Icon name={open.value ? "down" : "right"} />
          <h2>{section.name || "Charts"}</h2>
          <span>{format.counted(metrics.length, "metric")}</span>
        </button>
        {open.value && pages > 1 && (
          <span class="row">
            <button
              class="btn quiet mini"
              aria-label="Previous panels"
              disabled={at === 0}
              onClick={() => (page.value = at - 1)}
            >
              <Icon name="left" />
            </button>
            {from + 1}–{Math.min(from + PER_PAGE, metrics.length)}
            <button
              class="btn quiet mini"
              aria-label="Next panels"
              disabled={at === pages - 1}
              onClick={() => (page.value = at + 1)}
            >
              <Icon name="right" />
            </button>
          </span>
        )}
      </header>
      {open.value && (
        <div class="grid">
          {metrics.slice(from, from + PER_PAGE).map((metric) => (
            <Panel
              key={metric}
              project={project}
              metric={metric}
              runs={having(metric)}
              marks={marks}
              {...axisOf(metric)}
            />
          ))}
        </div>
      )}
    </section>
  );
}

interface FullProps {
  project: Project;
  metric: string;
  order: string[];
  axis?: Axis;
  runs: readonly Run[];
  marks: readonly Mark[];
}

function FullScreen({ project, metric, order, axis, runs, marks }: FullProps) {
  useEffect(() => {
    const before = document.activeElement;
    return () => before instanceof HTMLElement && before.focus();
  }, []);
  useEffect(() => {
    const onKey = (event: KeyboardEvent): void => {
      if (event.key === "Escape") change({ full: "" });
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      const next = step ? order[order.indexOf(metric) + step] : undefined;
      if (next && !(event.target instanceof HTMLInputElement)) change({ full: next });
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [metric, order.join("\n")]);
  return (
    <div class="over" role="dialog" aria-modal="true" aria-label={metric}>
      <Panel
        key={metric}
        project={project}
        metric={metric}
        runs={runs}
        full
        marks={marks}
        {...(axis ? { axis } : {})}
      />
    </div>
  );
}
