// Changes of the runs on the page, on one connection: which of them have moved. Other routes return what is new.

import { signal } from "@preact/signals";
import { route } from "./api.ts";

export interface News {
  run: string;
  kind: "start" | "delta" | "reset";
  state: string;
  /** Steps from `from_step` on were superseded by a restart or a rewind. */
  cuts: { writer: string; from_step: number }[];
  moved: { writer: string; from_step: number; to_step: number }[];
  said: Record<string, number>;
}

const AGAIN_MS = 3000;

export type Status = "off" | "connecting" | "live" | "stale";

export class Live {
  readonly status = signal<Status>("off");
  /** The time of the last event from the server, in ms; 0: never. */
  readonly heardAt = signal(0);
  #source: EventSource | null = null;
  #url = "";
  #timer = 0;
  #take: (news: News) => void;

  constructor(take: (news: News) => void) {
    this.#take = take;
    document.addEventListener("visibilitychange", this.#visibility);
  }

  /** Follows these runs and no others; without any, the connection is closed. */
  follow(path: string, runs: readonly string[]): void {
    const url = runs.length > 0 ? route("/v1/live", { path, runs: [...runs].toSorted() }) : "";
    if (url === this.#url) return;
    this.#url = url;
    this.#open();
  }

  close(): void {
    document.removeEventListener("visibilitychange", this.#visibility);
    this.#url = "";
    this.#open();
  }

  // A hidden page holds no connection; when it is shown again, the first events have the current positions.
  #visibility = (): void => this.#open();

  #open(): void {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
    if (!this.#url || document.hidden) {
      this.status.value = "off";
      return;
    }
    const source = new EventSource(this.#url);
    this.#source = source;
    if (this.status.value !== "stale") this.status.value = "connecting";
    const heard = (): void => {
      this.status.value = "live";
      this.heardAt.value = Date.now();
    };
    source.addEventListener("open", heard);
    source.addEventListener("error", (event) => {
      // An error event with data is about one deleted run; the others continue.
      if (event instanceof MessageEvent || this.#source !== source) return;
      this.status.value = "stale";
      // A lost connection is restored automatically; after an answer that is not a stream, the browser gives up.
      if (source.readyState === EventSource.CLOSED) this.#timer = window.setTimeout(() => this.#open(), AGAIN_MS);
    });
    for (const kind of ["start", "delta", "reset"] as const)
      source.addEventListener(kind, (event) => {
        heard();
        const data = JSON.parse((event as MessageEvent<string>).data) as Partial<News> & { run: string };
        this.#take({ state: "", cuts: [], moved: [], said: {}, ...data, kind });
      });
  }
}
