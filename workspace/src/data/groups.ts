// The groups of a project's runs, and the runs of those that are open; made by the server, read again now and then.

import { signal } from "@preact/signals";
import { filterOf, type Group, keyOf } from "../model/groups.ts";
import { type ApiError, get, isAbort, type Run, told } from "./api.ts";
import { RunList } from "./runs.ts";

const NEWS_MS = 15_000;
const MOST = 1000;

export interface Grouping {
  path: string;
  filters: string | null;
  order: string;
  /** Fields in the server's words. */
  by: readonly string[];
  mean: readonly string[];
  /** Keys whose last value each run includes. */
  summary: readonly string[];
}

interface Answer {
  groups: Group[];
  total: number;
  runs: number;
}

export class Groups {
  readonly groups = signal<readonly Group[] | null>(null);
  readonly total = signal(0);
  readonly runs = signal(0);
  readonly error = signal<ApiError | null>(null);
  /** The lists of open groups, by key. */
  readonly lists = signal<ReadonlyMap<string, RunList>>(new Map());

  #wanted: Grouping | null = null;
  #open: readonly string[] = [];
  #abort = new AbortController();
  #timer = 0;

  /** Reads groups when the query changes; null: the table is not grouped. What is shown stays until then. */
  want(wanted: Grouping | null, open: readonly string[]): void {
    this.#open = open;
    if (JSON.stringify(wanted) === JSON.stringify(this.#wanted)) return this.#unfold();
    const others = JSON.stringify(wanted?.by) !== JSON.stringify(this.#wanted?.by);
    this.#wanted = wanted;
    clearTimeout(this.#timer);
    this.#abort.abort();
    this.#abort = new AbortController();
    if (others) this.groups.value = null;
    if (wanted) void this.#read(wanted, this.#abort.signal);
    this.#unfold();
  }

  runsOf(key: string): readonly Run[] {
    return this.lists.value.get(key)?.runs.value ?? [];
  }

  retry(): void {
    clearTimeout(this.#timer);
    if (this.#wanted) void this.#read(this.#wanted, this.#abort.signal);
  }

  /** Takes the rows of deleted runs out. */
  drop(ids: ReadonlySet<string>): void {
    for (const list of this.lists.value.values()) list.drop(ids);
    this.retry();
  }

  close(): void {
    this.#abort.abort();
    clearTimeout(this.#timer);
    for (const list of this.lists.value.values()) list.close();
  }

  async #read(wanted: Grouping, signal: AbortSignal): Promise<void> {
    try {
      if (!document.hidden || this.groups.value === null) {
        const { path, filters, order, by, mean } = wanted;
        const answer = await get<Answer>("/v1/groups", { path, filters, order, by, mean, limit: MOST }, signal);
        this.total.value = answer.total;
        this.runs.value = answer.runs;
        this.groups.value = answer.groups;
        this.error.value = null;
        this.#unfold();
      }
    } catch (error) {
      if (isAbort(error)) return;
      this.error.value = told(error);
    }
    if (!signal.aborted) this.#timer = window.setTimeout(() => void this.#read(wanted, signal), NEWS_MS);
  }

  // One list for each open group.
  #unfold(): void {
    const before = this.lists.value;
    const wanted = this.#wanted;
    const open = new Map(
      (wanted && this.groups.value ? this.groups.value : [])
        .filter((group) => this.#open.includes(keyOf(group)))
        .map((group) => [keyOf(group), group]),
    );
    const after = new Map<string, RunList>();
    for (const [key, group] of open) {
      const list = before.get(key) ?? new RunList();
      const { path, order, summary, filters } = wanted!;
      list.want({ path, order, summary, filters: filterOf(group, filters) });
      after.set(key, list);
    }
    for (const [key, list] of before) if (!after.has(key)) list.close();
    if (before.size !== after.size || [...after.keys()].some((key) => !before.has(key))) this.lists.value = after;
  }
}
