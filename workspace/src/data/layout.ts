// The layout of a project's charts. The server keeps one for each project; a link may bring another one. While the page
// shows the project's, changes are stored, a moment after they are made.

import { computed, effect, signal } from "@preact/signals";
import { AUTOMATIC, type Layout } from "../model/layout.ts";
import { isSame, parseLayout, textOf } from "../model/layout-json.ts";
import { adopt, change, view } from "../state.ts";
import { type ApiError, get, isAbort, route, send, told } from "./api.ts";

const PAUSE_MS = 600;

export class ProjectLayout {
  /** The project's layout; null: it has not been read yet. */
  readonly saved = signal<Layout | null>(null);
  /** Why the last change could not be stored. */
  readonly error = signal<ApiError | null>(null);
  readonly shown = computed(() => view.value.layout ?? this.saved.value ?? AUTOMATIC);
  /** Whether the page shows another layout than the project's, because a link brought it. */
  readonly apart = signal(false);

  #path: string;
  #version = 0;
  /** Whether the project's layout was read; otherwise nothing is stored over it. */
  #stored = false;
  #saving = false;
  #abort = new AbortController();
  #timer = 0;
  #stop: () => void;
  // A tab that is closed at once must not lose the last change.
  #leave = (): void => {
    if (this.#timer !== 0) void this.#save(true);
  };

  constructor(path: string) {
    this.#path = path;
    void this.#load();
    addEventListener("pagehide", this.#leave);
    this.#stop = effect(() => {
      const { layout } = view.value;
      const saved = this.saved.value;
      if (!saved) return;
      // As a step of its own, so that a change of the layout can be undone.
      if (!layout) adopt({ layout: saved });
      else if (this.#stored && !this.apart.value && !isSame(layout, saved)) this.#soon();
    });
  }

  /** Stores what waits. */
  close(): void {
    this.#leave();
    removeEventListener("pagehide", this.#leave);
    this.#stop();
    this.#abort.abort();
  }

  /** Shows the project's layout instead of that of the link. */
  follow(): void {
    this.apart.value = false;
    change({ layout: this.saved.value ?? AUTOMATIC });
  }

  /** Makes the shown layout the project's. */
  keep(): void {
    this.apart.value = false;
  }

  /** Tries again what has failed. */
  retry(): void {
    const again = !this.#stored || this.error.value?.code === "layout_changed";
    this.error.value = null;
    void (again ? this.#load() : this.#save());
  }

  async #load(): Promise<void> {
    try {
      const given = { path: this.#path };
      const found = await get<{ layout: unknown; version: number }>("/v1/layout", given, this.#abort.signal);
      const saved = parseLayout(found.layout);
      const { layout } = view.peek();
      this.apart.value = layout !== null && !isSame(layout, saved);
      this.#version = found.version;
      this.#stored = true;
      this.saved.value = saved;
    } catch (error) {
      if (isAbort(error)) return;
      this.error.value = told(error);
      this.saved.value = AUTOMATIC;
    }
  }

  #soon(): void {
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => void this.#save(), PAUSE_MS);
  }

  async #save(leaving = false): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = 0;
    if (this.#saving) return this.#soon();
    const layout = this.shown.peek();
    this.#saving = true;
    try {
      const reply = await send(route("/v1/layout", { path: this.#path }), {
        method: "PUT",
        headers: { "Content-Type": "application/json" },
        body: `{"layout":${textOf(layout)},"version":${this.#version}}`,
        keepalive: leaving,
      });
      this.#version = ((await reply.json()) as { version: number }).version;
      this.error.value = null;
      this.saved.value = layout;
    } catch (error) {
      this.error.value = told(error);
    } finally {
      this.#saving = false;
    }
  }
}
