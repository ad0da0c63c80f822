// The rows of a query as a table; only those in sight are in the document.

import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { cellTexts, isNumber, type Result } from "../model/result.ts";

const ROW = 28;
const SPARE = 12;

export function Grid({ result }: { result: Result }) {
  const box = useRef<HTMLDivElement>(null);
  const seen = useSignal<[number, number]>([0, 40]);
  const look = (): void => {
    const element = box.current;
    if (!element) return;
    const from = Math.max(0, Math.floor(element.scrollTop / ROW) - SPARE);
    const to = Math.ceil((element.scrollTop + element.clientHeight) / ROW) + SPARE;
    if (from !== seen.value[0] || to !== seen.value[1]) seen.value = [from, to];
  };
  useEffect(() => {
    const observer = new ResizeObserver(look);
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);
  useEffect(() => {
    box.current!.scrollTop = 0;
    look();
  }, [result]);
  const { columns, rows } = result;
  const to = Math.min(rows.length, seen.value[1]);
  const from = Math.min(seen.value[0], to);
  return (
    <div class="tw" ref={box} onScroll={look} tabIndex={0} role="region" aria-label="Result">
      <table class="t result" aria-rowcount={rows.length + 1}>
        <thead>
          <tr>
            <th class="num">
              <span class="hidden">Row</span>
            </th>
            {columns.map((column, i) => (
              <th key={i} class={isNumber(column) ? "num" : ""}>
                {column.name} <span class="dim">{column.type}</span>
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          <tr class="gap" style={{ height: `${from * ROW}px` }} />
          {rows.slice(from, to).map((row, i) => (
            <tr key={from + i} aria-rowindex={from + i + 2}>
              <td class="num dim">{from + i + 1}</td>
              {columns.map((column, j) => {
                const { shown, full } = cellTexts(column, row[j]);
                return (
                  <td key={j} class={isNumber(column) ? "num" : ""} title={full}>
                    {full === "NULL" && shown === "" ? <span class="dim">NULL</span> : shown}
                  </td>
                );
              })}
            </tr>
          ))}
          <tr class="gap" style={{ height: `${(rows.length - to) * ROW}px` }} />
        </tbody>
      </table>
    </div>
  );
}
