// Editing a run's name, tags and note, and deleting runs after a question that shows how much will be lost.

import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { type ApiError, type Run, told } from "../../data/api.ts";
import { edit, remove } from "../../data/edits.ts";
import * as format from "../../model/format.ts";
import { changesOf, type Form, formOf, wrongWith } from "../../model/edits.ts";
import { Failure, Note } from "../../parts/marks.tsx";

interface EditProps {
  run: Run;
  /** The field that gets the focus. */
  first: keyof Form;
  changed: (run: Run) => void;
  close: () => void;
}

export function EditRun({ run, first, changed, close }: EditProps) {
  const form = useSignal<Form>(formOf(run));
  const busy = useSignal(false);
  const error = useSignal<ApiError | null>(null);
  const fields = useRef<HTMLFormElement>(null);
  useEffect(() => {
    const field = fields.current?.elements.namedItem(first);
    if (field instanceof HTMLElement) field.focus();
  }, [first]);
  const wrong = wrongWith(form.value);
  const set = (patch: Partial<Form>): void => void (form.value = { ...form.value, ...patch });
  const save = async (): Promise<void> => {
    const changes = changesOf(run, form.value);
    if (wrong !== "") return;
    if (Object.keys(changes).length === 0) return close();
    busy.value = true;
    try {
      changed(await edit(run, changes));
      close();
    } catch (problem) {
      error.value = told(problem);
    } finally {
      busy.value = false;
    }
  };
  return (
    <form
      class="edit"
      ref={fields}
      aria-label={`Edit ${run.display_name}`}
      onSubmit={(event) => {
        event.preventDefault();
        void save();
      }}
      onKeyDown={(event) => {
        if (event.key === "Escape") close();
        else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) void save();
      }}
    >
      <label>
        Name
        <input name="name" value={form.value.name} onInput={(event) => set({ name: event.currentTarget.value })} />
      </label>
      <label>
        Tags, separated by commas
        <input name="tags" value={form.value.tags} onInput={(event) => set({ tags: event.currentTarget.value })} />
      </label>
      <label class="whole">
        Note
        <textarea
          name="notes"
          rows={4}
          value={form.value.notes}
          onInput={(event) => set({ notes: event.currentTarget.value })}
        />
      </label>
      <div class="row whole">
        <button class="btn pri" type="submit" disabled={busy.value || wrong !== ""} title={wrong}>
          {busy.value ? "Saving…" : "Save"}
        </button>
        <button class="btn" type="button" onClick={close}>
          Cancel
        </button>
        <span class="bad" role="status">
          {wrong}
        </span>
      </div>
      {error.value && <Failure error={error.value} />}
    </form>
  );
}

interface DeleteProps {
  runs: readonly Run[];
  /** Called with the runs that were deleted, even if others could not be. */
  deleted: (runs: readonly Run[]) => void;
  close: () => void;
}

/** Asks before runs are deleted, and shows how many values they have. */
export function DeleteRuns({ runs, deleted, close }: DeleteProps) {
  const busy = useSignal(0);
  const error = useSignal<ApiError | null>(null);
  const keep = useRef<HTMLButtonElement>(null);
  useEffect(() => keep.current?.focus(), []);
  const sum = (of: (run: Run) => number | null): number => runs.reduce((total, run) => total + (of(run) ?? 0), 0);
  const running = runs.filter((run) => run.state === "running").length;
  const go = async (): Promise<void> => {
    const gone: Run[] = [];
    error.value = null;
    try {
      for (const run of runs) {
        busy.value = gone.length + 1;
        await remove(run);
        gone.push(run);
      }
    } catch (problem) {
      error.value = told(problem);
    }
    busy.value = 0;
    if (gone.length > 0) deleted(gone);
    if (gone.length === runs.length) close();
  };
  const what = runs.length === 1 ? runs[0]!.display_name : format.counted(runs.length, "run");
  return (
    <div class="ask" role="alertdialog" aria-label={`Delete ${what}?`}>
      <Note kind="bad" icon="warn">
        <b class="strong">Delete {what}?</b>{" "}
        {`${format.count(sum((run) => run.points))} points and ${format.count(sum((run) => run.objects))} other values will be lost for good.`}
        {running > 0 && " Still running: values logged from now on are refused."}
      </Note>
      <div class="row">
        <button class="btn" ref={keep} onClick={close}>
          Keep
        </button>
        <button class="btn danger" disabled={busy.value > 0} onClick={() => void go()}>
          {busy.value > 0 ? `Deleting ${busy.value} of ${runs.length}…` : "Delete"}
        </button>
      </div>
      {error.value && <Failure error={error.value} />}
    </div>
  );
}
