// A logged table: read when its card is opened, then sorted and filtered in the page, some rows at a time.

import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { type ApiError, send, told } from "../data/api.ts";
import * as format from "../model/format.ts";
import { blobHref, type Item, itemsOf } from "../model/media.ts";
import { arranged, cellText, numberOf, parseTable, type Table } from "../model/table.ts";
import { Icon } from "./icon.tsx";
import { Failure } from "./marks.tsx";

const PER_PAGE = 25;
/** Larger tables are only offered for download, since the page would hold all of them in memory. */
const MOST_BYTES = 32_000_000;

export function TableObject({ item }: { item: Item }) {
  const table = useSignal<Table | null>(null);
  const error = useSignal<ApiError | null>(null);
  const broken = useSignal(false);
  const query = useSignal("");
  const column = useSignal<number | null>(null);
  const descending = useSignal(true);
  const page = useSignal(0);
  const href = blobHref(item);
  const large = (item.size ?? 0) > MOST_BYTES;
  const load = (): void => {
    if (large) return;
    error.value = null;
    send(href, {})
      .then((reply) => reply.text())
      .then(
        (text) => {
          table.value = parseTable(text);
          broken.value = table.value === null;
        },
        (problem: unknown) => (error.value = told(problem)),
      );
  };
  useEffect(load, [href]);
  const found = table.value;
  const rows = useMemo(
    () => (found ? arranged(found, query.value, column.value, descending.value) : []),
    [found, query.value, column.value, descending.value],
  );
  const numbers = useMemo(
    () => found?.columns.map((_, i) => found.rows.some((row) => numberOf(row[i]) !== null)) ?? [],
    [found],
  );
  if (error.value) return <Failure error={error.value} again={load} />;
  if (large || broken.value)
    return (
      <div class="ph">
        <b>{large ? "This table is too large to be shown here" : "This table cannot be shown"}</b>
        <span>{large ? `It has ${format.bytes(item.size ?? 0)}.` : "It arrived as it was logged."}</span>
        <a href={href} download>
          Download
        </a>
      </div>
    );
  if (!found) return <div class="ph" />;
  const pages = Math.max(1, Math.ceil(rows.length / PER_PAGE));
  const at = Math.min(page.value, pages - 1);
  const sort = (i: number): void => {
    descending.value = column.value === i ? !descending.value : true;
    column.value = i;
    page.value = 0;
  };
  return (
    <div class="object-table">
      <div class="row">
        <label class="field mini">
          <Icon name="search" />
          <input
            type="search"
            placeholder="Filter rows"
            aria-label="Filter rows"
            value={query.value}
            onInput={(event) => {
              query.value = event.currentTarget.value;
              page.value = 0;
            }}
          />
        </label>
        <span class="dim">
          {rows.length === found.rows.length
            ? format.counted(rows.length, "row")
            : `${format.count(rows.length)} of ${format.counted(found.rows.length, "row")}`}
        </span>
      </div>
      <div class="scroll">
        <table class="t">
          <thead>
            <tr>
              {found.columns.map((name, i) => {
                const order = column.value === i ? (descending.value ? "descending" : "ascending") : "none";
                return (
                  <th
                    key={i}
                    aria-sort={order}
                    class={`${numbers[i] ? "num" : ""}${order === "none" ? "" : " sorted"}`}
                  >
                    <button class="sort cut" onClick={() => sort(i)}>
                      {order !== "none" && <Icon name={descending.value ? "desc" : "asc"} />}
                      {name}
                    </button>
                  </th>
                );
              })}
            </tr>
          </thead>
          <tbody>
            {rows.slice(at * PER_PAGE, (at + 1) * PER_PAGE).map((row, i) => (
              <tr key={at * PER_PAGE + i}>
                {found.columns.map((_, j) => (
                  <Cell key={j} cell={row[j]} />
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {pages > 1 && (
        <div class="row">
          <button
            class="btn quiet mini"
            aria-label="Previous rows"
            disabled={at === 0}
            onClick={() => (page.value = at - 1)}
          >
            <Icon name="left" />
          </button>
          <span class="dim">
            {at * PER_PAGE + 1}–{Math.min((at + 1) * PER_PAGE, rows.length)} of {format.count(rows.length)}
          </span>
          <button
            class="btn quiet mini"
            aria-label="Next rows"
            disabled={at === pages - 1}
            onClick={() => (page.value = at + 1)}
          >
            <Icon name="right" />
          </button>
        </div>
      )}
    </div>
  );
}

function Cell({ cell }: { cell: unknown }) {
  const n = numberOf(cell);
  if (n !== null)
    return (
      <td class="num" title={format.exact(n)}>
        {cellText(cell)}
      </td>
    );
  const [media] = itemsOf(cell);
  if (media?.kind === "image")
    return (
      <td>
        <img class="thumb" src={blobHref(media)} alt={media.caption || media.path} loading="lazy" />
      </td>
    );
  return (
    <td>
      <span class="clamp">{cellText(cell)}</span>
    </td>
  );
}
