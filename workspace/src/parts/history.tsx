// The queries that this browser ran in a project. Choosing one fills the editor; it does not run by itself.

import { type Signal, useSignal } from "@preact/signals";
import * as format from "../model/format.ts";
import { type Past, parsePast, shortQuery, withQuery } from "../model/history.ts";
import { Icon } from "./icon.tsx";
import { usePopover } from "./popover.ts";

const keyOf = (path: string): string => `stepwell-sql:${path}`;

export function readHistory(path: string): Past[] {
  try {
    return parsePast(localStorage.getItem(keyOf(path)));
  } catch {
    return []; // storage is forbidden
  }
}

/** Adds a query to the history of a project. */
export function remember(path: string, past: Signal<readonly Past[]>, query: string): void {
  past.value = withQuery(past.value, query, Date.now());
  try {
    localStorage.setItem(keyOf(path), JSON.stringify(past.value));
  } catch {
    // It is forbidden or full: the history lasts as long as the page.
  }
}

export function History({ past, choose }: { past: readonly Past[]; choose: (query: string) => void }) {
  const open = useSignal(false);
  return (
    <span class="anchor">
      <button
        class="btn"
        disabled={past.length === 0}
        title={past.length === 0 ? "No query has run in this browser yet" : ""}
        aria-expanded={open.value}
        onClick={() => (open.value = !open.value)}
      >
        History
        <Icon name="down" />
      </button>
      {open.value && (
        <List
          past={past}
          close={() => (open.value = false)}
          choose={(query) => {
            open.value = false;
            choose(query);
          }}
        />
      )}
    </span>
  );
}

function List({ past, choose, close }: { past: readonly Past[]; choose: (query: string) => void; close: () => void }) {
  const box = usePopover(close);
  return (
    <div class="pop pick-list history" ref={box} role="dialog" aria-label="Queries that were run">
      <div class="opts">
        {past.map(({ query, at }) => (
          <button key={query} class="o" title={query.slice(0, 2000)} onClick={() => choose(query)}>
            <span class="cut grow mono">{shortQuery(query)}</span>
            <span class="dim">{format.when(at)}</span>
          </button>
        ))}
      </div>
      <p class="dim">Kept in this browser only.</p>
    </div>
  );
}
