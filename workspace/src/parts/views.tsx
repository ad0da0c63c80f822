// The saved views of a project: opened, saved, removed and put back.

import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { SavedViews } from "../data/saved.ts";
import { compareHref, runsHref, workspaceHref } from "../model/place.ts";
import { MOST_NAME, type Saved } from "../model/saved.ts";
import { fragment } from "../model/view.ts";
import { go, link, view } from "../state.ts";
import { Icon } from "./icon.tsx";
import { Failure } from "./marks.tsx";
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
  useEffect(() => () => saved.close(), [saved]);
  const name = useSignal("");
  const before = useSignal<Saved | null>(null);
  const box = usePopover(close);
  const views = saved.views.value;
  const error = saved.error.value;
  const keep = async (event: Event): Promise<void> => {
    event.preventDefault();
    const address = new URL(link());
    const given = { name: name.value.trim(), page, query: address.search, layout: view.value.layout };
    if (await saved.put(given)) name.value = "";
  };
  return (
    <div class="pop pick-list views" ref={box} role="dialog" aria-label="Saved views">
      <form class="row" onSubmit={(event) => void keep(event)}>
        <label class="field on grow">
          <input
            aria-label="Name of this view"
            placeholder="Name of this view"
            maxLength={MOST_NAME}
            value={name.value}
            onInput={(event) => (name.value = event.currentTarget.value)}
          />
        </label>
        <button class="btn pri" disabled={name.value.trim() === ""}>
          Save
        </button>
      </form>
      {error && <Failure error={error} />}
      <div class="opts">
        {views?.map((one) => (
          <div key={one.name} class="row">
            <button
              class="o grow"
              onClick={() => {
                close();
                go(HREFS[one.page](entity, project) + one.query + fragment(one));
              }}
            >
              <span class="cut grow" title={one.name}>
                {one.name}
              </span>
              <span class="dim">{WORDS[one.page]}</span>
            </button>
            <button
              class="btn quiet mini"
              aria-label={`Remove ${one.name}`}
              onClick={() => void saved.remove(one.name).then((gone) => gone && (before.value = one))}
            >
              <Icon name="x" />
            </button>
          </div>
        ))}
        {views?.length === 0 && <p class="dim">A view keeps what is shown under a name, for everybody.</p>}
      </div>
      {before.value && (
        <div class="row" role="status">
          <span class="dim cut grow">{before.value.name} is removed.</span>
          <button
            class="link"
            onClick={() => void saved.put(before.value!).then((back) => back && (before.value = null))}
          >
            Undo
          </button>
        </div>
      )}
    </div>
  );
}
