// The saved views of a project, which the server keeps. Earlier versions kept them in the browser: those are handed to the
// server once.

import { signal } from "@preact/signals";
import { textOf } from "../model/layout-json.ts";
import { parseSaved, type Saved, savedOf } from "../model/saved.ts";
import { type ApiError, get, isAbort, route, send, told } from "./api.ts";

export class SavedViews {
  /** Null: they have not been read yet. */
  readonly views = signal<readonly Saved[] | null>(null);
  readonly error = signal<ApiError | null>(null);
  #path: string;
  #abort = new AbortController();

  constructor(path: string) {
    this.#path = path;
    void this.#load();
  }

  close(): void {
    this.#abort.abort();
  }

  /** Saves a view, or replaces the one of that name; returns whether it is saved. */
  put(view: Saved): Promise<boolean> {
    return this.#change(route("/v1/views", { path: this.#path }), {
      method: "PUT",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ ...view, layout: view.layout && (JSON.parse(textOf(view.layout)) as unknown) }),
    });
  }

  remove(name: string): Promise<boolean> {
    return this.#change(route("/v1/views", { path: this.#path, name }), { method: "DELETE" });
  }

  async #load(): Promise<void> {
    try {
      const { views } = await get<{ views: unknown }>("/v1/layout", { path: this.#path }, this.#abort.signal);
      this.views.value = savedOf(views);
    } catch (error) {
      if (!isAbort(error)) this.error.value = told(error);
      return;
    }
    await this.#handOver();
  }

  async #handOver(): Promise<void> {
    const key = `stepwell-views:${this.#path}`;
    let old: Saved[] = [];
    try {
      old = parseSaved(localStorage.getItem(key));
    } catch {
      // Storage is forbidden, so nothing was kept there.
    }
    for (const view of old) {
      const there = this.views.value?.some(({ name }) => name === view.name);
      if (!there && !(await this.put(view))) return; // what is left stays in the browser, until the next time
    }
    if (old.length > 0) localStorage.removeItem(key);
  }

  async #change(url: string, init: RequestInit): Promise<boolean> {
    try {
      const reply = await send(url, init);
      const { views } = (await reply.json()) as { views: unknown };
      this.views.value = savedOf(views);
      this.error.value = null;
      return true;
    } catch (error) {
      this.error.value = told(error);
      return false;
    }
  }
}
