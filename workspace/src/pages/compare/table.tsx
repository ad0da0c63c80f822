// The table of the comparison: one column for each run, one row for each key. Only visible rows are in the document.

import type { Run } from "../../data/api.ts";
import {
  type Cell,
  difference,
  equal,
  type Part,
  type Row,
  type Shown,
  type Side,
  texts,
} from "../../model/compare.ts";
import * as format from "../../model/format.ts";
import { runHref } from "../../model/place.ts";
import { exactText } from "../../model/values.ts";
import { Icon } from "../../parts/icon.tsx";
import { slotOf, StateMark, Swatch } from "../../parts/marks.tsx";
import { useWindow } from "../../parts/window.ts";

interface Props {
  sides: readonly Side[];
  shown: readonly Shown[];
  first: (run: Run) => void;
  remove: (run: Run) => void;
}

export function CompareTable({ sides, shown, first, remove }: Props) {
  const { box, look, from, to, before, behind } = useWindow(shown.length);
  return (
    <div class="tw" ref={box} onScroll={look} tabIndex={0} role="region" aria-label="Comparison">
      <table class="t runs-table cmp" aria-rowcount={shown.length + 1}>
        <colgroup>
          <col class="key" />
          {sides.map(({ run }) => (
            <col key={run.id} class={sides.length <= 3 ? "wide" : sides.length <= 6 ? "middle" : "narrow"} />
          ))}
          <col />
        </colgroup>
        <thead>
          <tr>
            <th class="p last">key</th>
            {sides.map(({ run }, i) => (
              <Head key={run.id} run={run} at={i} first={first} remove={remove} />
            ))}
            <td class="fill" />
          </tr>
        </thead>
        <tbody>
          <tr class="gap" style={{ height: before }} aria-hidden="true" />
          {shown.slice(from, to).map(({ part, row }, i) =>
            row === null ? (
              <tr key={part.name} class="part" aria-rowindex={from + i + 2}>
                <th scope="rowgroup" colSpan={sides.length + 2}>
                  <span class="title">
                    <b>{part.name}</b> {countsOf(part)}
                  </span>
                </th>
              </tr>
            ) : (
              <Line key={`${part.name} ${row.key}`} part={part} row={row} index={from + i + 2} />
            ),
          )}
          <tr class="gap" style={{ height: behind }} aria-hidden="true" />
        </tbody>
      </table>
    </div>
  );
}

const countsOf = ({ differ, rows }: Part): string =>
  `${format.count(differ)} ${differ === 1 ? "differs" : "differ"}, ${format.count(rows.length - differ)} equal`;

interface HeadProps {
  run: Run;
  at: number;
  first: (run: Run) => void;
  remove: (run: Run) => void;
}

function Head({ run, at, first, remove }: HeadProps) {
  const name = run.display_name;
  return (
    <th scope="col" data-run={run.id}>
      <span class="name">
        <span class="acts">
          {at > 0 && (
            <button class="btn quiet mini" title="Compare the others with this run" onClick={() => first(run)}>
              <Icon name="left" />
              <span class="hidden">Make {name} the first</span>
            </button>
          )}
          <button class="btn quiet mini" title="Take this run out" onClick={() => remove(run)}>
            <Icon name="x" />
            <span class="hidden">Take {name} out</span>
          </button>
        </span>
        <span class="grow" />
        <Swatch slot={slotOf(run)} />
        <a class="plain cut" href={runHref(run.entity, run.project, run.id)} title={name}>
          {name}
        </a>
        <StateMark state={run.state} />
      </span>
    </th>
  );
}

function Line({ part, row, index }: { part: Part; row: Row; index: number }) {
  const shown = texts(row.cells);
  return (
    <tr class={row.same ? "same" : ""} data-key={row.key} aria-rowindex={index}>
      <th scope="row" class="p last mono" title={row.key}>
        {row.key}
      </th>
      {row.cells.map((cell, i) => (
        <td key={i} class={classOf(row.cells, i)} title={cell === undefined ? "This run lacks it" : exactText(cell)}>
          {part.name === "Summary" && i > 0 && <span class="delta">{difference(row.cells, i)}</span>}
          {cell === undefined || cell === null ? "–" : shown[i] === "" ? "“”" : shown[i]}
        </td>
      ))}
      <td class="fill" />
    </tr>
  );
}

function classOf(cells: readonly Cell[], i: number): string {
  const cell = cells[i];
  return [cell === undefined ? "dim" : "", i > 0 && !equal(cell, cells[0]) ? "other" : ""].join(" ");
}
