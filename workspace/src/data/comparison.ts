// The runs that a page compares, with their summaries. Those that run are read again every few seconds.

import { signal } from "@preact/signals";
import type { Side } from "../model/compare.ts";
import { type ApiError, get, isAbort, type Json, type Run, type RunPage, runRoute, told } from "./api.ts";

const NEWS_MS = 5000;
/** How many runs are compared when the link names none. */
const USUAL = 2;

export class Comparison {
  /** In the order of the link. */
  readonly sides = signal<readonly Side[]>([]);
  /** Whether each run that was asked for has been read, or is known to be gone. */
  readonly complete = signal(false);
  readonly gone = signal<readonly string[]>([]);
  readonly error = signal<ApiError | null>(null);

  #entity: string;
  #project: string;
  #known = new Map<string, Side>();
  #wanted: readonly string[] | null = null;
  #abort = new AbortController();
  #timer = 0;

  constructor(entity: string, project: string) {
    this.#entity = entity;
    this.#project = project;
  }

  /** Reads these runs, or the newest ones; what is known already is shown at once. */
  want(ids: readonly string[] | null): void {
    this.#abort.abort();
    this.#abort = new AbortController();
    this.#wanted = ids;
    if (ids) this.#show(ids);
    void this.#read(this.#abort.signal);
  }

  retry(): void {
    this.want(this.#wanted);
  }

  close(): void {
    this.#abort.abort();
    clearTimeout(this.#timer);
  }

  async #read(signal: AbortSignal): Promise<void> {
    clearTimeout(this.#timer);
    try {
      const ids = this.#wanted ?? (await this.#newest(signal));
      await Promise.all(ids.filter((id) => this.#moves(id)).map((id) => this.#one(id, signal)));
      this.error.value = null;
      this.#show(ids);
      this.complete.value = true;
    } catch (error) {
      if (isAbort(error)) return;
      this.error.value = told(error);
    }
    if (!signal.aborted) this.#timer = window.setTimeout(() => this.#again(signal), NEWS_MS);
  }

  #again(signal: AbortSignal): void {
    if (document.hidden) this.#timer = window.setTimeout(() => this.#again(signal), NEWS_MS);
    else void this.#read(signal);
  }

  async #newest(signal: AbortSignal): Promise<string[]> {
    const path = `${this.#entity}/${this.#project}`;
    const page = await get<RunPage>("/v1/runs", { path, order: "-created_at", limit: USUAL }, signal);
    return page.runs.map((run) => run.id);
  }

  #moves(id: string): boolean {
    const known = this.#known.get(id);
    return !this.gone.value.includes(id) && (!known || known.run.state === "running");
  }

  async #one(id: string, signal: AbortSignal): Promise<void> {
    const address = runRoute(this.#entity, this.#project, id);
    try {
      const [run, summary] = await Promise.all([
        get<Run>(address, {}, signal),
        get<Record<string, Json>>(`${address}/summary`, {}, signal),
      ]);
      const known = this.#known.get(id);
      if (JSON.stringify(known) !== JSON.stringify({ run, summary })) this.#known.set(id, { run, summary });
    } catch (error) {
      if (isAbort(error) || told(error).status !== 404) throw error;
      this.gone.value = [...this.gone.value, id];
    }
  }

  // The same list as long as nothing has changed, so that nothing derived from it is computed again.
  #show(ids: readonly string[]): void {
    const found = ids.map((id) => this.#known.get(id)).filter((side) => side !== undefined);
    const before = this.sides.value;
    if (found.length !== before.length || found.some((side, i) => side !== before[i])) this.sides.value = found;
    this.complete.value = ids.length > 0 && found.length + this.gone.value.length >= ids.length;
  }
}
