// The table itself: its head, by which it is sorted, and the rows that are visible.

import { useEffect } from "preact/hooks";
import type { Run } from "../../data/api.ts";
import type { Groups } from "../../data/groups.ts";
import { MOST, type Project } from "../../data/project.ts";
import * as format from "../../model/format.ts";
import { keyOf, type Line, linesOf, meanText, meanTitle, titleOf } from "../../model/groups.ts";
import { runHref } from "../../model/place.ts";
import { Icon } from "../../parts/icon.tsx";
import { slotOf, StateMark, Swatch } from "../../parts/marks.tsx";
import { useWindow } from "../../parts/window.ts";
import { change, view } from "../../state.ts";
import type { Column } from "./columns.ts";

const MEAN = 140;

interface Props {
  project: Project;
  groups: Groups;
  columns: Column[];
  selected: ReadonlySet<string>;
  select: (ids: ReadonlySet<string>) => void;
}

export function Table({ project, groups, columns, selected, select }: Props) {
  const { order, group: by, open } = view.value;
  const grouped = by.length > 0;
  const runs = project.list.runs.value;
  const lines = grouped
    ? linesOf(groups.groups.value ?? [], new Set(open), (key) => groups.runsOf(key))
    : runs.map((run): Line => ({ kind: "run", key: run.id, run }));
  const { box, look, from, to, before, behind } = useWindow(lines.length, () => !grouped && project.list.more());
  const shown = lines.slice(from, to);
  const waiting = shown.find((line) => line.kind === "more");
  useEffect(() => {
    if (waiting?.kind === "more") groups.lists.value.get(keyOf(waiting.group))?.more();
  }, [waiting?.key, waiting?.kind === "more" && waiting.missing]);
  const drawn = new Set(project.drawn.value.map((run) => run.id));
  const read = lines.flatMap((line) => (line.kind === "run" ? [line.run.id] : []));
  const toggle = (id: string): void => {
    const next = new Set(selected);
    if (!next.delete(id)) next.add(id);
    select(next);
  };
  const draw = (id: string): void => {
    const ids = [...drawn];
    const next = drawn.has(id) ? ids.filter((item) => item !== id) : [...ids, id];
    if (next.length <= MOST) change({ runs: next });
  };
  const fold = (key: string): void =>
    change({ open: open.includes(key) ? open.filter((item) => item !== key) : [...open, key] });
  return (
    <div class="tw" ref={box} onScroll={look}>
      <table class="t runs-table" aria-rowcount={grouped ? lines.length + 1 : (project.list.total.value ?? -1)}>
        <colgroup>
          {[34, 34, 240, 112, ...columns.map((column) => widthOf(column, grouped)), 160].map((width, i) => (
            <col key={i} style={{ width: `${width}px` }} />
          ))}
        </colgroup>
        <thead>
          <tr>
            <th class="p ctr">
              <input
                type="checkbox"
                aria-label="Select all runs that were read"
                checked={read.length > 0 && selected.size === read.length}
                onChange={() => select(selected.size > 0 ? new Set() : new Set(read))}
              />
            </th>
            <th class="p ctr">
              <Icon name="eye" />
            </th>
            <Head title="Run" order="display_name" current={order} pinned />
            <Head title="State" order="state" current={order} />
            {columns.map((column) => (
              <Head key={column.key} title={column.title} order={column.order} current={order} number={column.number} />
            ))}
            <th>Tags</th>
          </tr>
        </thead>
        <tbody>
          <tr class="gap" style={{ height: before }} aria-hidden="true" />
          {shown.map((line, i) =>
            line.kind === "run" ? (
              <RunRow
                key={line.key}
                run={line.run}
                index={from + i + 2}
                columns={columns}
                selected={selected.has(line.run.id)}
                drawn={drawn.has(line.run.id)}
                toggle={() => toggle(line.run.id)}
                draw={() => draw(line.run.id)}
              />
            ) : line.kind === "group" ? (
              <GroupRow key={line.key} line={line} index={from + i + 2} columns={columns} fold={() => fold(line.key)} />
            ) : (
              <tr key={line.key} aria-rowindex={from + i + 2}>
                <td class="p" />
                <td class="p" />
                <td class="p last dim">{format.count(line.missing)} more are read</td>
                <td colSpan={columns.length + 2} />
              </tr>
            ),
          )}
          <tr class="gap" style={{ height: behind }} aria-hidden="true" />
        </tbody>
      </table>
    </div>
  );
}

// A mean has its deviation beside it.
const widthOf = (column: Column, grouped: boolean): number =>
  grouped && column.field !== null && column.number ? Math.max(column.width, MEAN) : column.width;

interface GroupProps {
  line: Line & { kind: "group" };
  index: number;
  columns: readonly Column[];
  fold: () => void;
}

function GroupRow({ line: { group, open }, index, columns, fold }: GroupProps) {
  const title = titleOf(group);
  return (
    <tr class="group" aria-rowindex={index} data-group={keyOf(group)}>
      <th class="p ctr">
        <button class="eye" aria-expanded={open} aria-label={`Runs of ${title}`} onClick={fold}>
          <Icon name={open ? "down" : "right"} />
        </button>
      </th>
      <th class="p ctr" />
      <th class="p last cut" scope="rowgroup" title={title} onClick={fold}>
        {title}
      </th>
      <td>{format.counted(group.runs, "run")}, mean</td>
      {columns.map((column) => {
        const mean = column.field === null ? undefined : group.means[column.field];
        return (
          <td key={column.key} class="num" title={meanTitle(mean, group)}>
            {mean && column.mean ? column.mean(mean.mean) : meanText(mean)}
          </td>
        );
      })}
      <td />
    </tr>
  );
}

interface RowProps {
  run: Run;
  index: number;
  columns: readonly Column[];
  selected: boolean;
  drawn: boolean;
  toggle: () => void;
  draw: () => void;
}

function RunRow({ run, index, columns, selected, drawn, toggle, draw }: RowProps) {
  return (
    <tr
      class={`${selected ? "sel" : ""}${run.archived_at === null ? "" : " archived"}`}
      aria-rowindex={index}
      data-run={run.id}
    >
      <td class="p ctr">
        <input type="checkbox" aria-label={`Select ${run.display_name}`} checked={selected} onChange={toggle} />
      </td>
      <td class="p ctr">
        <button
          class={`eye${drawn ? "" : " dim"}`}
          aria-pressed={drawn}
          aria-label={`Draw ${run.display_name}`}
          onClick={draw}
        >
          <Icon name={drawn ? "eye" : "off"} />
        </button>
      </td>
      <td class="p last">
        <span class="name">
          <Swatch slot={slotOf(run)} />
          <a
            class={`plain cut${drawn ? " strong" : ""}`}
            href={runHref(run.entity, run.project, run.id)}
            title={run.display_name}
          >
            {run.display_name}
          </a>
        </span>
      </td>
      <td>
        <StateMark state={run.state} word />
      </td>
      {columns.map((column) => {
        const text = column.show(run);
        return (
          <td key={column.key} class={column.number ? "num" : ""} title={text}>
            {text}
          </td>
        );
      })}
      <td>
        {run.archived_at !== null && <span class="chip small">archived</span>}
        {run.tags.map((tag) => (
          <span key={tag} class="chip small">
            {tag}
          </span>
        ))}
      </td>
    </tr>
  );
}

interface HeadProps {
  title: string;
  order: string | null;
  current: string;
  number?: boolean;
  pinned?: boolean;
}

function Head({ title, order, current, number = false, pinned = false }: HeadProps) {
  const sorted = order !== null && current.slice(1) === order;
  const descending = current.startsWith("-");
  const name = [number ? "num" : "", pinned ? "p last" : "", sorted ? "sorted" : ""].join(" ");
  return (
    <th class={name} aria-sort={sorted ? (descending ? "descending" : "ascending") : "none"}>
      {order === null ? (
        title
      ) : (
        <button
          class="sort cut"
          title={title}
          onClick={() =>
            change({ order: `${sorted && !descending ? "-" : sorted ? "+" : number ? "-" : "+"}${order}` })
          }
        >
          {sorted && <Icon name={descending ? "desc" : "asc"} />}
          {title}
        </button>
      )}
    </th>
  );
}
