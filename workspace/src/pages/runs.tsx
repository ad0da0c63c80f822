// The runs of a project as a table: filtered and sorted by the server, with columns of config and summary. Only visible
// rows are in the document.

import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { Groups } from "../data/groups.ts";
import { Project } from "../data/project.ts";
import * as format from "../model/format.ts";
import { fieldOf, GROUP_FIELDS } from "../model/groups.ts";
import { workspaceHref } from "../model/place.ts";
import { ColumnPicker, columnsOf, GroupPicker } from "../parts/columns.tsx";
import { FilterField } from "../parts/filter.tsx";
import { Icon } from "../parts/icon.tsx";
import { Failure } from "../parts/marks.tsx";
import { onChartKey } from "../parts/keys.ts";
import { CopyButton, UndoButton } from "../parts/toolbar.tsx";
import { Top } from "../parts/top.tsx";
import { Views } from "../parts/views.tsx";
import { change, kept, view } from "../state.ts";
import { DeleteRuns } from "./run/edit.tsx";
import { Bulk } from "./runs/bulk.tsx";
import { columnFor, FIXED } from "./runs/columns.ts";
import { exportRuns } from "./runs/export.ts";
import { Table } from "./runs/table.tsx";

export default function Runs({ entity, project: name }: { entity: string; project: string }) {
  const project = useMemo(() => new Project(entity, name, null, true), [entity, name]);
  const groups = useMemo(() => new Groups(), [project]);
  const picking = useSignal(false);
  const grouping = useSignal(false);
  const selected = useSignal<ReadonlySet<string>>(new Set());
  const saving = useSignal(false);
  const deleting = useSignal(false);
  useEffect(
    () => () => {
      project.close();
      groups.close();
    },
    [project],
  );
  useEffect(() => {
    document.title = `Runs · ${name} · Stepwell`;
    addEventListener("keydown", onChartKey);
    return () => removeEventListener("keydown", onChartKey);
  }, [name]);
  const { list } = project;
  const runs = list.runs.value;
  const total = list.total.value;
  const names = columnsOf(runs, project.usual.value);
  const columns = [...names.map((column) => columnFor(column, runs)), ...FIXED];
  const metrics = project.metrics.value?.metrics.map((metric) => metric.name) ?? [];
  const { group, open, archived } = view.value;
  const error = list.error.value ?? groups.error.value;
  const shownRuns = group.length > 0 ? [...groups.lists.value.values()].flatMap((one) => one.runs.value) : runs;
  const wanted = list.wanted.value;
  const fields = columns.flatMap((column) => column.field ?? []);
  useEffect(() => {
    const by = group.map(fieldOf);
    groups.want(
      wanted && by.length > 0 ? { ...wanted, by, mean: fields.filter((name) => !by.includes(name)) } : null,
      open,
    );
  }, [groups, wanted, group.join("\n"), open.join("\n"), fields.join("\n")]);

  const exportAll = async (): Promise<void> => {
    saving.value = true;
    try {
      await exportRuns(project.path, `${name}-runs.csv`, columns, names);
    } finally {
      saving.value = false;
    }
  };

  return (
    <div class="page">
      <Top entity={entity} project={name} current="runs" live={project.live} />
      <main class="pg">
        <div class="fb">
          <FilterField
            project={project}
            placeholder="state in (running, finished) and tag != smoke and eval/loss < 3.2"
          />
          <Views entity={entity} project={name} page="runs" />
          <UndoButton />
          <CopyButton />
          <button class="btn" disabled={saving.value || runs.length === 0} onClick={() => void exportAll()}>
            <Icon name="dl" />
            {saving.value ? "Reading…" : "CSV"}
          </button>
          <button
            class="btn"
            aria-pressed={archived}
            title={archived ? "Leave archived runs out" : "List archived runs, too"}
            onClick={() => change({ archived: !archived })}
          >
            <Icon name="archive" />
            Archived
          </button>
          <span class="anchor">
            <button
              class="btn"
              aria-pressed={group.length > 0}
              aria-expanded={grouping.value}
              onClick={() => (grouping.value = !grouping.value)}
            >
              <Icon name="group" />
              <span class="cut groups">{group.length > 0 ? group.map(shortOf).join(", ") : "Group"}</span>
            </button>
            {grouping.value && <GroupPicker runs={runs} close={() => (grouping.value = false)} />}
          </span>
          <span class="anchor">
            <button class="btn" aria-pressed={picking.value} onClick={() => (picking.value = !picking.value)}>
              <Icon name="cols" />
              Columns <span class="v">{names.length}</span>
            </button>
            {picking.value && (
              <ColumnPicker
                runs={runs}
                metrics={metrics}
                usual={project.usual.value}
                close={() => (picking.value = false)}
              />
            )}
          </span>
          <a class="btn pri" href={workspaceHref(entity, name) + kept("runs", "filter", "order")}>
            Open in workspace
          </a>
        </div>
        {error && error.status !== 404 && (
          <Failure error={error} again={() => void (list.error.value ? list.reload() : groups.retry())} />
        )}
        {error?.status === 404 ? (
          <div class="empty">
            <h1>There is no such project</h1>
            <p>{error.hint}</p>
          </div>
        ) : total === 0 ? (
          <div class="empty">
            <h1>No run fits the filter</h1>
            {!archived && <p>Archived runs are left out.</p>}
            <button class="btn" onClick={() => change({ filter: "", archived: true })}>
              Show all runs
            </button>
          </div>
        ) : (
          <Table
            project={project}
            groups={groups}
            columns={columns}
            selected={selected.value}
            select={(ids) => (selected.value = ids)}
          />
        )}
        {deleting.value && (
          <DeleteRuns
            runs={shownRuns.filter((run) => selected.value.has(run.id))}
            deleted={(gone) => {
              const ids = new Set(gone.map((run) => run.id));
              list.drop(ids);
              groups.drop(ids);
              selected.value = new Set([...selected.value].filter((id) => !ids.has(id)));
            }}
            close={() => (deleting.value = false)}
          />
        )}
        {!deleting.value && (
          <Bulk
            entity={entity}
            project={name}
            selected={selected.value}
            runs={shownRuns.filter((run) => selected.value.has(run.id))}
            changed={(changed) => {
              for (const run of changed) project.changed(run);
              if (changed.length === 0) return;
              // Undo may come after the list was changed, so what the page shows now counts.
              const gone = view.peek().archived ? [] : changed.filter((run) => run.archived_at !== null);
              const ids = new Set(gone.map((run) => run.id));
              const known = new Set(list.runs.peek().map((run) => run.id));
              list.drop(ids);
              groups.drop(ids);
              // Those that were brought back.
              if (changed.some((run) => !known.has(run.id))) void list.reload();
              selected.value = new Set([...selected.value].filter((id) => !ids.has(id)));
            }}
            remove={() => (deleting.value = true)}
            clear={() => (selected.value = new Set())}
          />
        )}
        <div class="ft">
          <span>
            {group.length > 0
              ? groupsWord(groups)
              : `${format.count(runs.length)} of ${total === null ? "…" : format.count(total)} runs read`}
          </span>
          {group.length === 0 && list.news.value > 0 && (
            <button class="link" onClick={() => void list.reload()}>
              {list.news.value} new
            </button>
          )}
          <span class="grow" />
          <span class="opt">
            <kbd>/</kbd> filter
          </span>
        </div>
      </main>
    </div>
  );
}

const shortOf = (column: string): string => GROUP_FIELDS[column] ?? column.slice(column.indexOf(".") + 1);

function groupsWord(groups: Groups): string {
  const read = groups.groups.value;
  if (!read) return "…";
  const total = groups.total.value;
  const part = read.length < total ? `${format.count(read.length)} of ` : "";
  return `${part}${format.counted(total, "group")}, ${format.counted(groups.runs.value, "run")}`;
}
