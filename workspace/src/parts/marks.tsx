// Small marks: the state of a run, its swatch, a note bar, an error.

import type { ComponentChildren } from "preact";
import type { ApiError, Run, State } from "../data/api.ts";
import { colourOf, swatchOf } from "../model/colours.ts";
import { Icon, type IconName } from "./icon.tsx";

const WORDS: Record<State, string> = { running: "Running", finished: "Finished", failed: "Failed", crashed: "Crashed" };

export function StateMark({ state, word = false }: { state: State; word?: boolean }) {
  return (
    <span class={`st ${state}`} title={WORDS[state]}>
      <Icon name={state} />
      {word ? WORDS[state] : <span class="hidden">{WORDS[state]}</span>}
    </span>
  );
}

export function Swatch({ slot, faint = false }: { slot: number; faint?: boolean }) {
  return <i class={`${swatchOf(slot)}${faint ? " faint" : ""} k${(slot % 10) + 1}`} data-colour={colourOf(slot)} />;
}

export const slotOf = (run: Run): number => run.slot ?? 0;

export function Note({
  kind = "info",
  icon,
  children,
  action,
}: {
  kind?: "info" | "warn" | "bad";
  icon: IconName;
  children: ComponentChildren;
  action?: { word: string; run: () => void };
}) {
  return (
    <div class={`note ${kind === "info" ? "" : kind}`} role={kind === "info" ? "status" : "alert"}>
      <Icon name={icon} />
      <div class="grow">{children}</div>
      {action && (
        <button class="btn" onClick={action.run}>
          {action.word}
        </button>
      )}
    </div>
  );
}

/** An error with its reason and a hint; says so when nothing is lost. */
export function Failure({ error, again }: { error: ApiError; again?: () => void }) {
  const away = error.code === "unreachable";
  return (
    <Note
      kind={away ? "warn" : "bad"}
      icon={away ? "warn" : "failed"}
      {...(again ? { action: { word: "Try now", run: again } } : {})}
    >
      <b class="strong">{error.message}</b>{" "}
      {away
        ? "Runs keep logging to their own disks; nothing is lost."
        : [error.detail, error.hint].filter(Boolean).join("; ")}
    </Note>
  );
}
