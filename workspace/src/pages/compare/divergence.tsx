// Where two runs begin to differ: the first step and metric, and the next ones, each as a link to its chart there.

import { useEffect, useMemo } from "preact/hooks";
import { type Difference, FirstDifferences } from "../../data/divergence.ts";
import type { Side } from "../../model/compare.ts";
import * as format from "../../model/format.ts";
import { workspaceHref } from "../../model/place.ts";
import { DEFAULT, query } from "../../model/view.ts";
import { Failure } from "../../parts/marks.tsx";

const SHOWN = 6;
const MARGIN = 50n;

interface Props {
  entity: string;
  project: string;
  sides: readonly Side[];
}

export function FirstDifference({ entity, project, sides }: Props) {
  const path = `${entity}/${project}`;
  const data = useMemo(() => new FirstDifferences(path), [path]);
  useEffect(() => () => data.close(), [data]);
  const [a, b] = sides.map(({ run }) => run.id);
  const pair = sides.length === 2 && a !== undefined && b !== undefined;
  useEffect(() => data.want(pair ? [a, b] : null), [data, pair, a, b]);
  if (!pair) return null;
  if (data.error.value) return <Failure error={data.error.value} again={() => data.want([a, b])} />;
  const found = data.found.value;
  if (!found) return <section class="say" aria-busy="true" />;
  const { differences, looked, shared } = found;
  if (looked === 0) return null;
  const of = (looked < shared ? `the first ${format.count(looked)} of ` : "") + format.count(shared);
  const [one] = differences;
  const href = ({ metric, from }: Difference): string => {
    const low = from > MARGIN ? from - MARGIN : 0n;
    const zoom: [number, number] = [Number(low), Number(from + MARGIN)];
    return workspaceHref(entity, project) + query({ ...DEFAULT, runs: [a, b], full: metric, zoom });
  };
  return (
    <section class="say" aria-label="First difference">
      <h1>
        {one ? (
          <>
            First differ at step {format.step(one.from)}, in <a href={href(one)}>{one.metric}</a>{" "}
            <span>{wordOf(one)}</span>
          </>
        ) : (
          "No metric differs"
        )}
      </h1>
      <p>
        {one
          ? `${format.count(differences.length)} of ${of} shared metrics ${differences.length === 1 ? "differs" : "differ"}`
          : `The points of ${of} shared metrics are equal, bit for bit`}
        {one && one.from > 0n ? "; before that step all are equal, bit for bit." : "."}
      </p>
      {differences.length > 1 && (
        <ul class="row">
          {differences.slice(1, SHOWN).map((item) => (
            <li key={item.metric}>
              <a class="chip" href={href(item)} title={wordOf(item)}>
                <span class="mono cut">{item.metric}</span> {format.step(item.from)}
              </a>
            </li>
          ))}
          {differences.length > SHOWN && <li class="dim">+ {format.count(differences.length - SHOWN)} more</li>}
        </ul>
      )}
    </section>
  );
}

function wordOf({ a, b }: Difference): string {
  if (Number.isNaN(a) || Number.isNaN(b)) return "where one of them has no finite value";
  const delta = b - a;
  return `by ${delta > 0 ? "+" : ""}${format.value(Number(delta.toPrecision(3)))}`;
}
