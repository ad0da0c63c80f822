// The saved views of a project: opened, saved, removed and put back.

import { useSignal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import { SavedViews } from "../data/saved.ts";
import { compareHref, runsHref, workspaceHref } from "../model/place.ts";
import { type Saved, withSaved } from "../model/saved.ts";
import { go, link } from "../state.ts";
import { Icon } from "./icon.tsx";
import { usePopover } from "./popover.ts";

interface Props {
  entity: string;
  project: string;
  page: Saved["page"];
}

const HREFS = { workspace: workspaceHref, runs: runsHref, compare: compareHref };
const WORDS = { workspace: "Workspace", runs: "Runs", compare: "Compare" };

export function Views({ entity, project, page }: Props) {
  const open = useSignal(false);
  return (
    <span class="anchor lg">
      <button class="btn" aria-expanded={open.value} onClick={() => (open.value = !open.value)}>
        Views
        <Icon name="down" />
      </button>
      {open.value && <List entity={entity} project={project} page={page} close={() => (open.value = false)} />}
    </span>
  );
}

function List({ entity, project, page, close }: Props & { close: () => void }) {
  const saved = useMemo(() => new SavedViews(`${entity}/${project}`), [entity, project]);
  const name = useSignal("");
  const before = useSignal<{ name: string; views: readonly Saved[] } | null>(null);
  const box = usePopover(close);
  const views = saved.views.value;
  const keep = (event: Event): void => {
    event.preventDefault();
    saved.put(withSaved(views, { name: name.value, page, query: new URL(link()).search }));
    name.value = "";
  };
  return (
    <div class="pop pick-list views" ref={box} role="dialog" aria-label="Saved views">
      <form class="row" onSubmit={keep}>
        <label class="field on grow">
          <input
            aria-label="Name of this view"
            placeholder="Name of this view"
            value={name.value}
            onInput={(event) => (name.value = event.currentTarget.value)}
          />
        </label>
        <button class="btn pri" disabled={name.value.trim() === ""}>
          Save
        </button>
      </form>
      <div class="opts">
        {views.map((view) => (
          <div key={view.name} class="row">
            <button
              class="o grow"
              onClick={() => {
                close();
                go(HREFS[view.page](entity, project) + view.query);
              }}
            >
              <span class="cut grow" title={view.name}>
                {view.name}
              </span>
              <span class="dim">{WORDS[view.page]}</span>
            </button>
            <button
              class="btn quiet mini"
              aria-label={`Remove ${view.name}`}
              onClick={() => {
                before.value = { name: view.name, views };
                saved.put(views.filter((other) => other !== view));
              }}
            >
              <Icon name="x" />
            </button>
          </div>
        ))}
        {views.length === 0 && <p class="dim">Views are kept in this browser. Their links work everywhere.</p>}
      </div>
      {before.value && (
        <div class="row" role="status">
          <span class="dim cut grow">{before.value.name} is removed.</span>
          <button
            class="link"
            onClick={() => {
              saved.put(before.value!.views);
              before.value = null;
            }}
          >
            Undo
          </button>
        </div>
      )}
    </div>
  );
}
