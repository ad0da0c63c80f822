// The objects of a run, key by key and step by step. Uploaded content is shown as a picture, sound, video, or in a
// sandboxed frame with its own origin, and never runs in this page.

import { signal, useSignal } from "@preact/signals";
import type { ComponentType } from "preact";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { type ApiError, get, type Json, told } from "../../data/api.ts";
import * as format from "../../model/format.ts";
import { histogramOf } from "../../model/histograms.ts";
import { blobHref, type Item, itemsOf } from "../../model/media.ts";
import { search } from "../../model/sections.ts";
import { Failure } from "../../parts/marks.tsx";
import { Histograms } from "../../parts/histograms.tsx";
import { Icon } from "../../parts/icon.tsx";
import { TableObject } from "../../parts/table.tsx";
import { change, view } from "../../state.ts";
import type { TabProps } from "../run.tsx";

/** The bytes of a 3D file that is read without being asked for. */
const AT_ONCE = 8_000_000;

interface Key {
  key: string;
  count: number;
  first_step: number;
  last_step: number;
}

interface Value {
  step: number;
  writer: string;
  value: Json;
}

export function Media({ address }: TabProps) {
  const keys = useSignal<Key[] | null>(null);
  const error = useSignal<ApiError | null>(null);
  const load = (): void => {
    get<{ keys: Key[] }>(`${address}/objects`).then(
      (found) => {
        keys.value = found.keys;
        error.value = null;
      },
      (problem: unknown) => (error.value = told(problem)),
    );
  };
  useEffect(load, [address]);
  const { q } = view.value;
  const found = keys.value ?? [];
  const names = new Set(
    search(
      found.map((item) => item.key),
      q,
    ),
  );
  return (
    <main class="media">
      <div class="bar">
        <label class="field search">
          <Icon name="search" />
          <input
            id="metrics"
            type="search"
            placeholder="Media, e.g. samples/"
            aria-label="Search media"
            value={q}
            onInput={(event) => change({ q: event.currentTarget.value })}
          />
        </label>
      </div>
      {error.value && <Failure error={error.value} again={load} />}
      {keys.value && found.length === 0 && (
        <div class="empty">
          <h1>No media</h1>
          <p>
            <code>
              run.log({"{"}"samples": stepwell.Image(picture){"}"})
            </code>{" "}
            shows pictures here, and sound, video and HTML likewise.
          </p>
        </div>
      )}
      {found
        .filter((item) => names.has(item.key))
        .map((item) => (
          <Card key={item.key} address={address} about={item} />
        ))}
    </main>
  );
}

function Card({ address, about }: { address: string; about: Key }) {
  const values = useSignal<Value[] | null>(null);
  const error = useSignal<ApiError | null>(null);
  const index = useSignal<number | null>(null);
  const load = (): void => {
    get<{ values: Value[] }>(`${address}/objects`, { key: about.key, limit: 1000 }).then(
      (found) => (values.value = found.values),
      (problem: unknown) => (error.value = told(problem)),
    );
  };
  useEffect(load, [address, about.key, about.count]);
  const steps = [...new Set(values.value?.map((item) => item.step))];
  const at = Math.min(index.value ?? steps.length - 1, steps.length - 1);
  const here = values.value?.filter((item) => item.step === steps[at]) ?? [];
  const items = here.flatMap((item) => itemsOf(item.value));
  const histograms = useMemo(
    () =>
      (values.value ?? []).flatMap(({ step, value }) => {
        const histogram = histogramOf(value);
        return histogram ? [{ step, histogram }] : [];
      }),
    [values.value],
  );
  const drawn = new Set(histograms.map(({ step }) => step)).has(steps[at]!);
  const slash = about.key.lastIndexOf("/") + 1;
  return (
    <section class="card media-card" data-key={about.key}>
      <header>
        <b>
          <span class="dim">{about.key.slice(0, slash)}</span>
          {about.key.slice(slash)}
        </b>
        <span class="dim">{items.length > 1 ? `${items.length} at this step` : ""}</span>
      </header>
      {error.value && <Failure error={error.value} again={load} />}
      {items.some((item) => item.kind === "table") &&
        items
          .filter((item) => item.kind === "table")
          .map((item, i) => <TableObject key={`${item.sha256} ${i}`} item={item} />)}
      {items.some((item) => item.kind !== "table") && (
        <div class="im">
          {items
            .filter((item) => item.kind !== "table")
            .map((item, i) => (
              <Shown key={`${item.sha256} ${i}`} item={item} />
            ))}
        </div>
      )}
      {histograms.length > 0 && (
        <Histograms
          name={about.key}
          all={histograms}
          step={steps[at]!}
          choose={(step) => (index.value = steps.indexOf(step))}
        />
      )}
      {items.length === 0 &&
        !drawn &&
        here.map((item, i) => (
          <pre key={i} class="pad pre">
            {typeof item.value === "string" ? item.value : JSON.stringify(item.value, null, 1)?.slice(0, 4000)}
          </pre>
        ))}
      {steps.length > 0 && (
        <label class="steps">
          <span class="mid">step</span>
          <b class="num">{format.step(steps[at]!)}</b>
          <input
            type="range"
            min="0"
            max={steps.length - 1}
            value={at}
            disabled={steps.length === 1}
            aria-label={`Step of ${about.key}`}
            aria-valuetext={`step ${steps[at]}`}
            onInput={(event) => (index.value = Number(event.currentTarget.value))}
          />
          <span class="dim">
            {at + 1} of {steps.length}
            {values.value!.length < about.count ? `, the first of ${format.count(about.count)} values` : ""}
          </span>
        </label>
      )}
    </section>
  );
}

type Viewer = ComponentType<{ href: string; name: string; title: string }>;
const viewer = signal<Viewer | null>(null);

/** The viewer of 3D objects, whose code is loaded when one comes into sight. */
function SolidLater({ item, href }: { item: Item; href: string }) {
  const box = useRef<HTMLDivElement>(null);
  const seen = useSignal(false);
  const failed = useSignal(false);
  const load = (): void => {
    failed.value = false;
    import("../../parts/solid.tsx").then(
      (module) => (viewer.value = module.default),
      () => (failed.value = true),
    );
  };
  useEffect(() => {
    const observer = new IntersectionObserver(([entry]) => {
      if (!entry!.isIntersecting) return;
      observer.disconnect();
      seen.value = true;
      if (!viewer.peek()) load();
    });
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);
  const Solid = viewer.value;
  const name = item.path.slice(item.path.lastIndexOf("/") + 1);
  return (
    <div ref={box} class="solid-place" data-file={name}>
      {failed.value ? (
        <div class="ph">
          <b>The viewer could not be loaded</b>
          <span>The server may be away, or was upgraded since this page was opened.</span>
          <button class="btn" onClick={load}>
            Try again
          </button>
        </div>
      ) : (
        seen.value && Solid && <Solid href={href} name={name} title={item.caption || name} />
      )}
    </div>
  );
}

function Shown({ item }: { item: Item }) {
  const href = blobHref(item);
  const broken = useSignal(false);
  const opened = useSignal(false);
  return (
    <figure>
      {broken.value ? (
        <div class="ph">
          <b>This file cannot be shown</b>
          <span>It arrived as it was logged.</span>
          <a href={href} download>
            Download
          </a>
        </div>
      ) : item.kind === "image" ? (
        <img
          src={href}
          alt={item.caption || item.path}
          loading="lazy"
          onError={() => (broken.value = true)}
          {...(item.width && item.height ? { width: item.width, height: item.height } : {})}
        />
      ) : item.kind === "video" ? (
        <video src={href} controls preload="metadata" onError={() => (broken.value = true)} />
      ) : item.kind === "audio" ? (
        <audio src={href} controls preload="none" onError={() => (broken.value = true)} />
      ) : item.kind === "solid" ? (
        opened.value || (item.size ?? 0) <= AT_ONCE ? (
          <SolidLater item={item} href={href} />
        ) : (
          <div class="ph">
            <b>A large object, not read yet</b>
            <span class="row">
              <button class="btn" onClick={() => (opened.value = true)}>
                Read {format.bytes(item.size!)}
              </button>
            </span>
          </div>
        )
      ) : item.kind === "html" ? (
        opened.value ? (
          <iframe src={href} sandbox="" title={item.caption || item.path} />
        ) : (
          <div class="ph">
            <b>Logged HTML, not shown yet</b>
            <span>It is shown in a frame of its own, without scripts and without network.</span>
            <span class="row">
              <button class="btn" onClick={() => (opened.value = true)}>
                Show it
              </button>
            </span>
          </div>
        )
      ) : (
        <div class="ph">
          <Icon name="file" />
          <span class="cut">{item.path.slice(item.path.lastIndexOf("/") + 1)}</span>
          <a href={href} download>
            Download
          </a>
        </div>
      )}
      {item.caption && <figcaption>{item.caption}</figcaption>}
    </figure>
  );
}
