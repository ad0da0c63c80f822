// The overview of a run: writers and how far each is stored, rejections, summary, config and metadata.

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { get, type Json, type State } from "../../data/api.ts";
import * as format from "../../model/format.ts";
import { flat, logged } from "../../model/values.ts";
import { Icon } from "../../parts/icon.tsx";
import { Note, StateMark } from "../../parts/marks.tsx";
import type { Alert, Rejection, TabProps } from "../run.tsx";

const NEWS_MS = 3000;
const MOST_RANKS = 64;

interface Writer {
  name: string;
  state: State;
  heartbeat_at: string;
  host: string | null;
  epochs: number;
  last_step: number | null;
  points: number;
  rejected: number;
}

export function Overview({ run, address }: TabProps) {
  const summary = useSignal<Record<string, Json>>({});
  const writers = useSignal<Writer[]>([]);
  const rejections = useSignal<Rejection[]>([]);
  const alerts = useSignal<Alert[]>([]);
  const metadata = useSignal<Record<string, Record<string, Json>>>({});
  useEffect(() => {
    const abort = new AbortController();
    const read = async (): Promise<void> => {
      // The next look retries failures; the page reports an unreachable server.
      const some = await Promise.allSettled([
        get<Record<string, Json>>(`${address}/summary`, {}, abort.signal).then((found) => (summary.value = found)),
        get<{ writers: Writer[] }>(`${address}/writers`, {}, abort.signal).then(
          (found) => (writers.value = found.writers),
        ),
        get<{ rejections: Rejection[] }>(`${address}/rejections`, { limit: 100 }, abort.signal).then(
          (found) => (rejections.value = found.rejections),
        ),
        get<{ alerts: Alert[] }>(`${address}/alerts`, { limit: 100 }, abort.signal).then(
          (found) => (alerts.value = found.alerts),
        ),
        get<{ metadata: Record<string, Record<string, Json>> }>(`${address}/metadata`, { limit: 1 }, abort.signal).then(
          (found) => (metadata.value = found.metadata),
        ),
      ]);
      void some;
    };
    void read();
    const timer = run.state === "running" ? setInterval(() => !document.hidden && void read(), NEWS_MS) : 0;
    return () => {
      abort.abort();
      clearInterval(timer);
    };
  }, [address, run.state]);
  const origin = Object.values(metadata.value)[0] ?? {};
  return (
    <main class="body">
      <div class="stack">
        <Ranks writers={writers.value} />
        {alerts.value.length > 0 && (
          <div class="card">
            <h3>Alerts</h3>
            {alerts.value.map((item, i) => (
              <Note key={i} kind={item.level === "ERROR" ? "bad" : item.level === "WARN" ? "warn" : "info"} icon="warn">
                <b class="strong">{item.title}</b> {item.text}
                <span class="dim">
                  {" "}
                  step {format.step(item.step)}, {format.when(item.time)}
                </span>
              </Note>
            ))}
          </div>
        )}
        {rejections.value.length > 0 && <Rejections rows={rejections.value} />}
        <Values title="Summary" more="last stored" values={logged(summary.value)} />
        {run.notes && (
          <div class="card">
            <h3>Note</h3>
            <p class="pad mid pre">{run.notes}</p>
          </div>
        )}
      </div>
      <div class="stack">
        <Values title="Config" values={run.config} searchable />
        <Values title="Where it comes from" values={withoutLong(origin)} />
      </div>
    </main>
  );
}

function Ranks({ writers }: { writers: readonly Writer[] }) {
  if (writers.length < 2 && writers[0]?.state !== "running") return null;
  const most = Math.max(...writers.map((writer) => writer.last_step ?? -1));
  const least = Math.min(...writers.map((writer) => writer.last_step ?? -1));
  const behind = writers.find(
    (writer) => most - (writer.last_step ?? -1) > Math.max(10, most / 50) && writer.state === "running",
  );
  const worst = writers.toSorted((a, b) => (a.last_step ?? -1) - (b.last_step ?? -1)).slice(0, 16);
  const shown = writers.length > MOST_RANKS ? worst : writers;
  return (
    <div class="card">
      <h3>
        Where the data is
        <span class="dim">
          {least === most
            ? `stored up to step ${format.step(most)}`
            : `stored up to steps ${format.step(least)} to ${format.step(most)}`}
          , by writer
          {shown.length < writers.length && `; the ${shown.length} furthest behind of ${format.count(writers.length)}`}
        </span>
      </h3>
      <div class="ranks">
        <div class="rk">
          {shown.map((writer) => (
            <div key={writer.name} class="one" title={titleOf(writer)}>
              <div class={writer === behind ? "cell out" : "cell"}>
                <i style={{ height: `${Math.max(4, (((writer.last_step ?? -1) + 1) / (most + 1 || 1)) * 92)}%` }} />
              </div>
              <span class={writer === behind ? "cut warn" : "cut"}>{writer.name}</span>
              <StateMark state={writer.state} />
            </div>
          ))}
        </div>
        {behind && (
          <Note kind="warn" icon="warn">
            <b class="strong">
              Writer {behind.name} is {format.step(most - (behind.last_step ?? -1))} steps behind.
            </b>{" "}
            It was heard last on {format.when(behind.heartbeat_at)}. What it has logged waits on its own disk; nothing
            is lost.
          </Note>
        )}
      </div>
    </div>
  );
}

const titleOf = (writer: Writer): string =>
  `writer ${writer.name}${writer.host ? ` on ${writer.host}` : ""}: step ${writer.last_step ?? "–"}, ${format.count(writer.points ?? 0)} points`;

function Rejections({ rows }: { rows: readonly Rejection[] }) {
  return (
    <div class="card scroll">
      <h3>
        Refused
        <span class="dim">these frames are on record and not in the history</span>
      </h3>
      <table class="t">
        <thead>
          <tr>
            <th>Writer</th>
            <th class="num">Steps</th>
            <th class="num">Points</th>
            <th>Why</th>
            <th class="num">When</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row, i) => (
            <tr key={i}>
              <td>{row.writer}</td>
              <td class="num">
                {row.first_step === null ? "–" : `${format.step(row.first_step)}–${format.step(row.last_step ?? 0)}`}
              </td>
              <td class="num">{format.count(row.points)}</td>
              <td>{row.message}</td>
              <td class="num">{format.when(row.rejected_at)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

interface ValuesProps {
  title: string;
  values: Record<string, Json>;
  more?: string;
  searchable?: boolean;
}

function Values({ title, values, more, searchable = false }: ValuesProps) {
  const text = useSignal("");
  const rows = flat(values).filter(([key]) => key.toLowerCase().includes(text.value.toLowerCase()));
  if (Object.keys(values).length === 0) return null;
  return (
    <div class="card">
      <h3>
        {title}
        <span class="dim">{more ?? format.counted(flat(values).length, "key")}</span>
        {searchable && (
          <label class="field mini">
            <Icon name="search" />
            <input
              type="search"
              aria-label={`Search ${title}`}
              value={text.value}
              onInput={(event) => (text.value = event.currentTarget.value)}
            />
          </label>
        )}
      </h3>
      <div class="kv">
        {rows.map(([key, value]) => (
          <KeyValue key={key} name={key} value={value} />
        ))}
      </div>
    </div>
  );
}

function KeyValue({ name, value }: { name: string; value: Json }) {
  const text =
    typeof value === "number" ? format.value(value) : typeof value === "string" ? value : JSON.stringify(value);
  return (
    <>
      <span class="cut mono" title={name}>
        {name}
      </span>
      <span class="cut" title={typeof value === "number" ? format.exact(value) : text}>
        {text}
      </span>
    </>
  );
}

function withoutLong(values: Record<string, Json>): Record<string, Json> {
  return Object.fromEntries(Object.entries(values).filter(([key]) => key !== "packages"));
}
