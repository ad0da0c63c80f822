// What can be done with the selected runs. Archiving and tags are undone from the bar that says what was done.

import { useSignal } from "@preact/signals";
import type { ApiError, Run } from "../../data/api.ts";
import { editAll } from "../../data/edits.ts";
import { MOST } from "../../data/project.ts";
import { MOST_SIDES } from "../../model/compare.ts";
import { type Changes, retagged, tagCounts, tagsOf, wrongTag } from "../../model/edits.ts";
import * as format from "../../model/format.ts";
import { compareHref, workspaceHref } from "../../model/place.ts";
import { Icon } from "../../parts/icon.tsx";
import { Failure } from "../../parts/marks.tsx";
import { usePopover } from "../../parts/popover.ts";
import { change, go, kept } from "../../state.ts";

interface Props {
  entity: string;
  project: string;
  /** The selected runs; those that were not read have only their ids. */
  selected: ReadonlySet<string>;
  runs: readonly Run[];
  changed: (runs: readonly Run[]) => void;
  remove: () => void;
  clear: () => void;
}

interface Done {
  text: string;
  undo: () => void;
}

export function Bulk({ entity, project, selected, runs, changed, remove, clear }: Props) {
  const { size } = selected;
  const busy = useSignal<{ done: number; of: number } | null>(null);
  const error = useSignal<ApiError | null>(null);
  const done = useSignal<Done | null>(null);
  const tagging = useSignal(false);
  const open = (href: string): void => {
    change({ runs: [...selected] });
    go(href + kept("runs", "filter", "order"));
  };
  const apply = async (
    given: readonly Run[],
    changes: (run: Run) => Changes | null,
    back: (run: Run) => Changes,
    word: string,
  ): Promise<void> => {
    busy.value = { done: 0, of: given.length };
    error.value = null;
    const made = await editAll(given, changes, (count) => (busy.value = { done: count, of: given.length }));
    busy.value = null;
    error.value = made.error;
    changed(made.done.map(({ after }) => after));
    const before = new Map(made.done.map((one) => [one.after.id, one.before]));
    const text = `${format.counted(made.done.length, "run")} ${word}.`;
    done.value = {
      text: made.done.length === 0 && !made.error ? "Nothing had to be changed." : text,
      undo: () => {
        done.value = null;
        const after = made.done.map((one) => one.after);
        void apply(
          after,
          (run) => back(before.get(run.id)!),
          (run) => back(run),
          "changed back",
        ).then(() => (done.value = null));
      },
    };
  };
  const archive = (archived: boolean): void => {
    void apply(
      runs.filter((run) => (run.archived_at !== null) !== archived),
      () => ({ archived }),
      (run) => ({ archived: run.archived_at !== null }),
      archived ? "archived" : "brought back",
    );
  };
  const tag = (more: readonly string[], less: readonly string[]): void => {
    void apply(
      runs,
      (run) => retagged(run, more, less),
      (run) => ({ tags: run.tags }),
      more.length > 0 ? `tagged ${more.join(", ")}` : `without ${less.join(", ")}`,
    );
  };
  if (size === 0 && !done.value && !error.value && !busy.value) return null;
  const live = runs.filter((run) => run.archived_at === null).length;
  return (
    <div class="pop bulk" role="toolbar" aria-label="Selected runs">
      {error.value && <Failure error={error.value} />}
      {busy.value ? (
        <b class="strong" role="status">
          {busy.value.done} of {format.counted(busy.value.of, "run")}…
        </b>
      ) : done.value ? (
        <>
          <span role="status">{done.value.text}</span>
          <button class="btn quiet" onClick={done.value.undo}>
            <Icon name="undo" />
            Undo
          </button>
        </>
      ) : (
        <b class="strong">{format.counted(size, "run")} selected</b>
      )}
      {size > 0 && !busy.value && (
        <>
          <button
            class="btn quiet"
            disabled={size > MOST}
            title={size > MOST ? `At most ${MOST} runs are drawn` : ""}
            onClick={() => open(workspaceHref(entity, project))}
          >
            <Icon name="eye" />
            Draw
          </button>
          <button
            class="btn quiet"
            disabled={size < 2 || size > MOST_SIDES}
            title={size < 2 || size > MOST_SIDES ? `2 to ${MOST_SIDES} runs can be compared` : ""}
            onClick={() => open(compareHref(entity, project))}
          >
            <Icon name="compare" />
            Compare
          </button>
          <span class="anchor">
            <button class="btn quiet" aria-expanded={tagging.value} onClick={() => (tagging.value = !tagging.value)}>
              <Icon name="tag" />
              Tags
            </button>
            {tagging.value && <Tags runs={runs} tag={tag} close={() => (tagging.value = false)} />}
          </span>
          {live > 0 && (
            <button class="btn quiet" title="Leaves them out of lists; nothing is lost" onClick={() => archive(true)}>
              <Icon name="archive" />
              Archive
            </button>
          )}
          {live < runs.length && (
            <button class="btn quiet" onClick={() => archive(false)}>
              <Icon name="archive" />
              Bring back
            </button>
          )}
          <button class="btn quiet danger" onClick={remove}>
            Delete
          </button>
        </>
      )}
      <button
        class="btn quiet"
        aria-label="Clear the selection"
        onClick={() => {
          done.value = error.value = null;
          clear();
        }}
      >
        <Icon name="x" />
      </button>
    </div>
  );
}

interface TagsProps {
  runs: readonly Run[];
  tag: (more: readonly string[], less: readonly string[]) => void;
  close: () => void;
}

function Tags({ runs, tag, close }: TagsProps) {
  const box = usePopover(close);
  const text = useSignal("");
  const wrong = wrongTag(text.value);
  const counts = tagCounts(runs);
  const add = (event: Event): void => {
    event.preventDefault();
    const more = tagsOf(text.value);
    if (wrong || more.length === 0) return;
    tag(more, []);
    close();
  };
  return (
    <div class="pop set up" ref={box} role="dialog" aria-label="Tags of the selected runs">
      <form onSubmit={add}>
        <label>
          Add tags, separated by commas
          <input value={text.value} onInput={(event) => (text.value = event.currentTarget.value)} />
        </label>
        <p class="bad" role="status">
          {wrong}
        </p>
        <button class="btn pri" disabled={wrong !== "" || tagsOf(text.value).length === 0}>
          Add to {format.counted(runs.length, "run")}
        </button>
      </form>
      {counts.length > 0 && <h3>Tags that they have</h3>}
      <div class="row wrap">
        {counts.map(([name, count]) => (
          <button
            key={name}
            class="chip"
            aria-label={`Remove the tag ${name} from ${format.counted(count, "run")}`}
            onClick={() => {
              tag([], [name]);
              close();
            }}
          >
            {name} <span class="dim">{count}</span>
            <Icon name="x" />
          </button>
        ))}
      </div>
    </div>
  );
}
