// Finds runs of a project by a part of their names.

import { get, type Run, type RunPage } from "./api.ts";

/** The newest runs whose display name or id has the text in it. */
export async function findRuns(
  path: string,
  text: string,
  limit: number,
  signal: AbortSignal,
): Promise<readonly Run[]> {
  const wanted = text.trim();
  const pattern = { $regex: `(?i)${wanted.replaceAll(/[\\^$.*+?()[\]{}|]/gu, "\\$&")}` };
  const filters = wanted === "" ? null : JSON.stringify({ $or: [{ display_name: pattern }, { name: pattern }] });
  const page = await get<RunPage>("/v1/runs", { path, filters, order: "-created_at", limit }, signal);
  return page.runs;
}
