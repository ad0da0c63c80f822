// Everything that can be gone to from a page: pages, saved views, runs, metrics and projects.

import { signal } from "@preact/signals";
import { idOf } from "../model/layout.ts";
import type { Target } from "../model/palette.ts";
import { compareHref, type Place, runHref, runsHref, sqlHref, TABS, workspaceHref } from "../model/place.ts";
import { savedOf } from "../model/saved.ts";
import { DEFAULT, fragment, query } from "../model/view.ts";
import { view } from "../state.ts";
import { get, type MetricNames, type Project } from "./api.ts";
import { findRuns } from "./find.ts";

const RUNS = 8;
const PAUSE_MS = 120;
const HREFS = { workspace: workspaceHref, runs: runsHref, compare: compareHref };

export class Targets {
  readonly found = signal<readonly Target[]>([]);
  #place: Place;
  #fixed: Target[] = [];
  #abort = new AbortController();
  #search = new AbortController();
  #timer = 0;

  constructor(place: Place) {
    this.#place = place;
    this.#add(pagesOf(place));
    const none = (): void => undefined; // what cannot be read is not offered
    get<{ projects: Project[] }>("/v1/projects", {}, this.#abort.signal).then(
      ({ projects }) =>
        this.#add(
          projects.map(({ entity, project }) => ({
            ...{ kind: "Project", title: project, more: entity, href: workspaceHref(entity, project) },
          })),
        ),
      none,
    );
    if (!("project" in place)) return;
    const { entity, project } = place;
    get<{ views: unknown }>("/v1/layout", { path: `${entity}/${project}` }, this.#abort.signal).then(
      ({ views }) =>
        this.#add(
          savedOf(views).map(({ name, page, query: saved, layout }) => ({
            ...{ kind: "View", title: name, href: HREFS[page](entity, project) + saved + fragment({ layout }) },
          })),
        ),
      none,
    );
    get<MetricNames>("/v1/metrics", { path: `${entity}/${project}` }, this.#abort.signal).then(
      ({ metrics }) =>
        this.#add(
          metrics.map(({ name }) => ({
            ...{
              kind: "Metric",
              title: name,
              href: workspaceHref(entity, project) + inFull(name),
            },
          })),
        ),
      none,
    );
    this.look("");
  }

  /** Looks for runs with this part of a name, a moment later. */
  look(text: string): void {
    const place = this.#place;
    if (!("project" in place)) return;
    this.#search.abort();
    this.#search = new AbortController();
    clearTimeout(this.#timer);
    const { signal: stop } = this.#search;
    this.#timer = window.setTimeout(
      () =>
        void findRuns(`${place.entity}/${place.project}`, text, RUNS, stop).then(
          (runs) => {
            const rest = this.found.value.filter((target) => target.kind !== "Run");
            const shown = runs.map((run): Target => ({
              ...{ kind: "Run", title: run.display_name, more: run.id, slot: run.slot ?? 0 },
              href: runHref(run.entity, run.project, run.id),
            }));
            this.found.value = [...rest, ...shown];
          },
          () => undefined,
        ),
      PAUSE_MS,
    );
  }

  close(): void {
    this.#abort.abort();
    this.#search.abort();
    clearTimeout(this.#timer);
  }

  #add(targets: readonly Target[]): void {
    this.#fixed = [...this.#fixed, ...targets];
    this.found.value = [...this.#fixed, ...this.found.value.filter((target) => target.kind === "Run")];
  }
}

// With the runs and the settings of charts as they are.
function inFull(metric: string): string {
  const { runs, filter, order, axis, method, weight, log, cut } = view.peek();
  return query({ ...DEFAULT, runs, filter, order, axis, method, weight, log, cut, full: idOf(metric) });
}

function pagesOf(place: Place): Target[] {
  const pages: [string, string][] = [["All projects", "/"]];
  if ("project" in place) {
    const { entity, project } = place;
    pages.unshift(
      ["Workspace", workspaceHref(entity, project)],
      ["Runs", runsHref(entity, project)],
      ["Compare", compareHref(entity, project)],
      ["SQL", sqlHref(entity, project)],
    );
    if ("run" in place)
      for (const tab of TABS) pages.push([`This run: ${tab}`, runHref(entity, project, place.run, tab)]);
  }
  return pages.map(([title, href]) => ({ kind: "Page", title, href }));
}
