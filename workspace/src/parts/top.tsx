// The top bar of each page: breadcrumbs, the pages of the project, whether the data is live, light or dark.

import { useSignal } from "@preact/signals";
import { pin, pinned } from "../chart/theme.ts";
import type { Live } from "../data/live.ts";
import { signedIn, signOut } from "../data/sign-in.ts";
import * as format from "../model/format.ts";
import { compareHref, runsHref, sqlHref, workspaceHref } from "../model/place.ts";
import { kept } from "../state.ts";
import { Find } from "./find.tsx";
import { Icon } from "./icon.tsx";

interface Props {
  entity?: string;
  project?: string;
  current?: "workspace" | "runs" | "compare" | "sql";
  live?: Live | null;
}

export function Top({ entity, project, current, live = null }: Props) {
  const query = kept("runs", "filter", "order");
  const tabs =
    entity !== undefined && project !== undefined
      ? ([
          ["workspace", "Workspace", workspaceHref(entity, project)],
          ["runs", "Runs", runsHref(entity, project)],
          ["compare", "Compare", compareHref(entity, project)],
          ["sql", "SQL", sqlHref(entity, project)],
        ] as const)
      : [];
  return (
    <header class="top">
      <a class="logo" href="/" aria-label="Stepwell, all projects">
        <Icon name="logo" />
      </a>
      <nav class="crumb cut" aria-label="Where">
        {project === undefined ? (
          <b>Projects</b>
        ) : (
          <>
            <a href="/">Projects</a>
            <span class="sep">/</span>
            <b class="cut" title={`${entity}/${project}`}>
              {project}
            </b>
          </>
        )}
      </nav>
      <nav class="tabs" aria-label="Project">
        {tabs.map(([name, word, href]) => (
          <a key={name} href={href + query} {...(name === current ? { "aria-current": "page" as const } : {})}>
            {word}
          </a>
        ))}
      </nav>
      <span class="grow" />
      {live && <LiveMark live={live} />}
      <Find />
      <ThemeButton />
      {signedIn.value && <SignOutButton />}
    </header>
  );
}

function SignOutButton() {
  return (
    <button class="btn quiet" onClick={() => void signOut().then(() => location.assign("/"))}>
      Sign out
    </button>
  );
}

function LiveMark({ live }: { live: Live }) {
  const status = live.status.value;
  if (status === "live") return <span class="live">Live</span>;
  if (status === "stale") {
    const since = live.heardAt.value ? `, last news ${format.when(live.heardAt.value)}` : "";
    return <span class="live stale">Stale{since}</span>;
  }
  return null;
}

function ThemeButton() {
  const choice = useSignal(pinned());
  const dark = choice.value ? choice.value === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  return (
    <button
      class="btn quiet"
      title={dark ? "Light" : "Dark"}
      aria-label={dark ? "Light colours" : "Dark colours"}
      onClick={() => {
        pin(dark ? "light" : "dark");
        choice.value = pinned();
      }}
    >
      <Icon name={dark ? "sun" : "moon"} />
    </button>
  );
}
