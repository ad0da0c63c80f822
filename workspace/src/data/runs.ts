// The list of a project's runs, window by window: filtered and sorted by the server, loaded as the user scrolls.

import { signal } from "@preact/signals";
import { ApiError, get, isAbort, type Run, type RunPage, told } from "./api.ts";

const PAGE = 100;
const NEWS_MS = 5000;

export interface Wanted {
  path: string;
  filters: string | null;
  order: string;
  summary: readonly string[];
}

export class RunList {
  readonly runs = signal<readonly Run[]>([]);
  readonly total = signal<number | null>(null);
  readonly error = signal<ApiError | null>(null);
  readonly loading = signal(false);
  /** The number of runs created since the list was read. */
  readonly news = signal(0);

  /** What is listed; null: nothing was asked for. */
  readonly wanted = signal<Wanted | null>(null);

  #next: string | null = null;
  #abort = new AbortController();
  #timer = 0;

  /** Reads the list again when the query changes; the shown rows stay until the answer arrives. */
  want(wanted: Wanted): void {
    const before = this.wanted.peek();
    if (JSON.stringify(wanted) === JSON.stringify(before)) return;
    const another = wanted.path !== before?.path;
    this.wanted.value = wanted;
    if (another) {
      this.runs.value = [];
      this.total.value = null;
    }
    void this.reload();
  }

  async reload(): Promise<void> {
    this.#abort.abort();
    this.#abort = new AbortController();
    this.#next = null;
    clearTimeout(this.#timer);
    await this.#load((page) => {
      this.runs.value = page.runs;
      this.news.value = 0;
    });
    this.#look();
  }

  /** Reads the next window; does nothing during a read or when there is none. */
  more(): void {
    if (this.loading.value || this.#next === null) return;
    void this.#load((page) => {
      const known = new Set(this.runs.value.map((run) => run.id));
      this.runs.value = [...this.runs.value, ...page.runs.filter((run) => !known.has(run.id))];
    });
  }

  /** Updates the row of a run. */
  replace(run: Run): void {
    this.#update((item) => (item.id === run.id ? { ...item, ...run } : item));
  }

  /** Takes the rows of deleted runs out. */
  drop(ids: ReadonlySet<string>): void {
    const kept = this.runs.value.filter((run) => !ids.has(run.id));
    if (this.total.value !== null) this.total.value -= this.runs.value.length - kept.length;
    this.runs.value = kept;
  }

  close(): void {
    this.#abort.abort();
    clearTimeout(this.#timer);
  }

  // Unchanged rows stay the same objects, so that nothing derived from them is recomputed.
  #update(fresh: (run: Run) => Run): void {
    const before = this.runs.value;
    const after = before.map((run) => {
      const next = fresh(run);
      return JSON.stringify(next) === JSON.stringify(run) ? run : next;
    });
    if (after.some((run, i) => run !== before[i])) this.runs.value = after;
  }

  async #load(take: (page: RunPage) => void): Promise<void> {
    const signal = this.#abort.signal;
    this.loading.value = true;
    try {
      const page = await this.#read(this.#next, signal);
      this.#next = page.next;
      this.total.value = page.total;
      this.error.value = null;
      take(page);
    } catch (error) {
      if (!isAbort(error)) this.error.value = told(error);
    } finally {
      if (!signal.aborted) this.loading.value = false;
    }
  }

  #read(cursor: string | null, signal: AbortSignal): Promise<RunPage> {
    const { path, filters, order, summary } = this.wanted.peek()!;
    return get<RunPage>("/v1/runs", { path, filters, order, summary, limit: PAGE, cursor }, signal);
  }

  // Reads the first window again: states and steps change in place, and new runs are counted, so that no row moves.
  #look(): void {
    clearTimeout(this.#timer);
    const signal = this.#abort.signal;
    this.#timer = window.setTimeout(async () => {
      if (!document.hidden && !this.loading.value) {
        try {
          const page = await this.#read(null, signal);
          const fresh = new Map(page.runs.map((run) => [run.id, run]));
          const known = new Set(this.runs.value.map((run) => run.id));
          if (this.runs.value.length === 0) this.runs.value = page.runs;
          else this.#update((run) => fresh.get(run.id) ?? run);
          this.news.value = this.runs.value.length === 0 ? 0 : page.runs.filter((run) => !known.has(run.id)).length;
          this.total.value = page.total;
          this.error.value = null;
        } catch (error) {
          if (isAbort(error)) return;
          this.error.value = told(error);
        }
      }
      if (!signal.aborted) this.#look();
    }, NEWS_MS);
  }
}
