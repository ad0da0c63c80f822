// Logged tables: their JSON as rows, sorted and filtered, with cells of any type. Pure.

import { value as number } from "./format.ts";
import { naturally } from "./sections.ts";

export interface Table {
  columns: string[];
  rows: unknown[][];
}

/** The table of a file; null: it is not a table. */
export function parseTable(text: string): Table | null {
  let given: unknown;
  try {
    given = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof given !== "object" || given === null || !("columns" in given) || !("data" in given)) return null;
  const { columns, data } = given;
  if (!Array.isArray(columns) || !Array.isArray(data) || !data.every((row) => Array.isArray(row))) return null;
  return { columns: columns.map(String), rows: data };
}

/** The number in a cell, including those that JSON cannot express; null: it is not a number. */
export function numberOf(cell: unknown): number | null {
  if (typeof cell === "number") return cell;
  if (typeof cell === "object" && cell !== null && "_type" in cell && cell._type === "float64" && "value" in cell)
    return Number(String(cell.value));
  return null;
}

/** A cell as text; media are shown as pictures. */
export function cellText(cell: unknown): string {
  const n = numberOf(cell);
  if (n !== null) return number(n);
  if (cell === null || cell === undefined) return "";
  if (typeof cell === "object" && "_type" in cell) return `[${String(cell._type)}]`;
  return typeof cell === "string" ? cell : JSON.stringify(cell);
}

/** Rows with the text in any cell, sorted by a column: numbers before texts, NaN and missing values last. */
export function arranged(table: Table, query: string, column: number | null, descending: boolean): unknown[][] {
  const wanted = query.trim().toLowerCase();
  const found = wanted
    ? table.rows.filter((row) => row.some((cell) => cellText(cell).toLowerCase().includes(wanted)))
    : table.rows;
  if (column === null) return found;
  const sign = descending ? -1 : 1;
  return found.toSorted((a, b) => {
    const [x, y] = [numberOf(a[column]), numberOf(b[column])];
    const [first, second] = [rank(a[column], x), rank(b[column], y)];
    if (first !== second) return first - second;
    if (x !== null && y !== null && first === 0) return sign * (x - y);
    return sign * naturally(cellText(a[column]), cellText(b[column]));
  });
}

function rank(cell: unknown, n: number | null): number {
  if (n !== null) return Number.isNaN(n) ? 2 : 0;
  return cell === null || cell === undefined ? 3 : 1;
}
