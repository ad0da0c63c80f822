// Requests to the server: sends and receives JSON, with readable errors. Types are those of docs/reading.md.

import { needsKey } from "./sign-in.ts";

export interface Project {
  entity: string;
  project: string;
  runs: number;
  running: number;
  newest_run_at: string;
}

export type State = "running" | "finished" | "failed" | "crashed";
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

export interface Run {
  entity: string;
  project: string;
  id: string;
  display_name: string;
  state: State;
  created_at: string;
  finished_at: string | null;
  archived_at: string | null;
  heartbeat_at: string | null;
  exit_code: number | null;
  last_step: number | null;
  points: number | null;
  objects: number | null;
  rejected: number | null;
  writers: number;
  parent: string | null;
  fork_step: number | null;
  notes: string | null;
  job_type: string | null;
  host: string | null;
  username: string | null;
  duration_s: number | null;
  slot: number | null;
  group: string | null;
  tags: string[];
  config: Record<string, Json>;
  metadata: Record<string, Json>;
  summary?: Record<string, Json>;
}

export interface RunPage {
  runs: Run[];
  next: string | null;
  total: number;
}

export interface MetricNames {
  runs: string[];
  /** x: the metric that define_metric names as x-axis. */
  metrics: { name: string; runs: number[]; hidden?: boolean; x?: string }[];
}

/** An error from the server, or the lack of an answer. */
export class ApiError extends Error {
  override name = "ApiError";
  readonly code: string;
  readonly status: number;
  readonly detail: string;
  readonly hint: string;

  constructor(message: string, about: { code?: string; status?: number; detail?: string; hint?: string } = {}) {
    super(message);
    this.code = about.code ?? "unknown";
    this.status = about.status ?? 0;
    this.detail = about.detail ?? "";
    this.hint = about.hint ?? "";
  }
}

type Query = Record<string, string | number | readonly string[] | null | undefined>;

/** The URL of a route with its parameters; lists are repeated. */
export function route(path: string, given: Query = {}): string {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(given)) {
    if (value === null || value === undefined) continue;
    for (const one of Array.isArray(value) ? value : [value]) query.append(key, String(one));
  }
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

export function runRoute(entity: string, project: string, run: string): string {
  return `/v1/runs/${[entity, project, run].map(encodeURIComponent).join("/")}`;
}

export async function get<T>(path: string, query: Query = {}, signal?: AbortSignal): Promise<T> {
  const reply = await send(route(path, query), { headers: { Accept: "application/json" }, signal: signal ?? null });
  return (await reply.json()) as T;
}

/** Sends a request; throws an ApiError for an answer that is not a success, and the DOMException of an abort. */
export async function send(url: string, init: RequestInit): Promise<Response> {
  let reply: Response;
  try {
    reply = await fetch(url, init);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError("The server does not answer.", { code: "unreachable" });
  }
  if (reply.ok) return reply;
  const status = reply.status;
  const body = (await reply.json().catch(() => null)) as { error?: Record<string, string> } | null;
  const said = body?.error;
  if (status === 401) needsKey.value = true;
  throw new ApiError(said?.["message"] ? sentence(said["message"]) : `The server answered ${status}.`, {
    ...said,
    status,
  });
}

const sentence = (text: string): string =>
  text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/u.test(text) ? "" : ".");

export const isAbort = (error: unknown): boolean => error instanceof DOMException && error.name === "AbortError";

/** An error in one sentence, with a hint; anything other than an ApiError is a bug of the page. */
export function told(error: unknown): ApiError {
  return error instanceof ApiError ? error : new ApiError(error instanceof Error ? error.message : String(error));
}
