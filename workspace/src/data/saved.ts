// The saved views of a project. They are kept by the browser; their links can be given to others.

import { signal } from "@preact/signals";
import { parseSaved, type Saved } from "../model/saved.ts";

export class SavedViews {
  readonly views = signal<readonly Saved[]>([]);
  #key: string;

  constructor(path: string) {
    this.#key = `stepwell-views:${path}`;
    try {
      this.views.value = parseSaved(localStorage.getItem(this.#key));
    } catch {
      // Storage is forbidden: views then last as long as the page.
    }
  }

  put(views: readonly Saved[]): void {
    this.views.value = views;
    try {
      localStorage.setItem(this.#key, JSON.stringify(views));
    } catch {
      // As above, or it is full.
    }
  }
}
