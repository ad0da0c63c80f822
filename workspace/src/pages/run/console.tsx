// The console output of a run: its end first, earlier lines when the user scrolls up, and the newest while the user is
// at the end.

import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { type ApiError, get, told } from "../../data/api.ts";
import { spans } from "../../model/ansi.ts";
import * as format from "../../model/format.ts";
import { Failure } from "../../parts/marks.tsx";
import { VirtualList } from "../../parts/virtual.tsx";
import type { TabProps } from "../run.tsx";

const PARTS = 500;
const NEWS_MS = 2000;

interface Part {
  writer: string;
  epoch: number;
  stream: string;
  number: number;
  lines: string[] | null;
  times: number[] | null;
}

interface Line {
  key: string;
  writer: string;
  stream: string;
  text: string;
  /** The plain text, without escape sequences. */
  plain: string;
  time: number | undefined;
}

export function Console({ run, address }: TabProps) {
  const lines = useSignal<Line[]>([]);
  const earlier = useSignal<string | null>(null);
  const error = useSignal<ApiError | null>(null);
  const read = useSignal(false);
  const query = useSignal("");
  const follow = useRef(true);
  const box = useRef<HTMLDivElement>(null);

  const load = async (cursor: string | null, signal?: AbortSignal): Promise<void> => {
    try {
      const found = await get<{ parts: Part[]; earlier: string | null }>(
        `${address}/console`,
        { limit: PARTS, cursor },
        signal,
      );
      const fresh = found.parts.flatMap(linesOf);
      if (cursor !== null || !read.value) earlier.value = found.earlier;
      const known = new Set(fresh.map((line) => line.key));
      const others = lines.value.filter((line) => !known.has(line.key));
      lines.value = cursor === null ? [...others, ...fresh] : [...fresh, ...others];
      read.value = true;
      error.value = null;
    } catch (problem) {
      if (!signal?.aborted) error.value = told(problem);
    }
  };
  useEffect(() => {
    const abort = new AbortController();
    lines.value = [];
    read.value = false;
    void load(null, abort.signal);
    const timer =
      run.state === "running" ? setInterval(() => !document.hidden && void load(null, abort.signal), NEWS_MS) : 0;
    return () => {
      abort.abort();
      clearInterval(timer);
    };
  }, [address, run.state]);
  useEffect(() => {
    const scroller = box.current?.querySelector(".virtual");
    if (follow.current && scroller) scroller.scrollTop = scroller.scrollHeight;
  }, [lines.value.length]);

  const wanted = query.value.toLowerCase();
  const shown = wanted ? lines.value.filter((line) => line.plain.toLowerCase().includes(wanted)) : lines.value;
  const several = new Set(lines.value.map((line) => line.writer)).size > 1;
  return (
    <main class="console">
      <div class="bar">
        <label class="field search">
          <input
            type="search"
            placeholder="Find in what was read"
            aria-label="Find lines"
            value={query.value}
            onInput={(event) => (query.value = event.currentTarget.value)}
          />
        </label>
        <span class="dim">{format.counted(shown.length, "line")}</span>
        {earlier.value !== null && (
          <button
            class="btn"
            onClick={() => {
              follow.current = false;
              void load(earlier.value);
            }}
          >
            Earlier lines
          </button>
        )}
      </div>
      {error.value && <Failure error={error.value} again={() => void load(null)} />}
      {read.value && lines.value.length === 0 ? (
        <div class="empty">
          <h1>Nothing was printed</h1>
          <p>What a run prints to stdout and stderr appears here, unless it was started with console="off".</p>
        </div>
      ) : (
        <div
          class="card term"
          ref={box}
          onScrollCapture={(event) => {
            const { scrollTop, scrollHeight, clientHeight } = event.target as HTMLElement;
            follow.current = scrollTop + clientHeight >= scrollHeight - 40;
          }}
        >
          <VirtualList
            label="Console"
            role="log"
            count={shown.length}
            row={(index) => {
              const line = shown[index]!;
              return (
                <div key={line.key} class={`ln ${line.stream}`} title={line.time ? format.when(line.time * 1000) : ""}>
                  {several && <span class="dim">{line.writer}</span>}
                  <span>
                    {spans(line.text).map((span, i) => (
                      <span key={i} class={span.look}>
                        {span.text}
                      </span>
                    ))}
                  </span>
                </div>
              );
            }}
          />
        </div>
      )}
    </main>
  );
}

function linesOf(part: Part): Line[] {
  return (part.lines ?? []).map((text, i) => ({
    key: `${part.writer} ${part.epoch} ${part.number + i}`,
    writer: part.writer,
    stream: part.stream === "stderr" ? "stderr" : "stdout",
    text,
    plain: spans(text)
      .map((span) => span.text)
      .join(""),
    time: part.times?.[i],
  }));
}
