// What can be done with the selected runs.

import { MOST } from "../../data/project.ts";
import { MOST_SIDES } from "../../model/compare.ts";
import { compareHref, workspaceHref } from "../../model/place.ts";
import { Icon } from "../../parts/icon.tsx";
import { change, go, kept } from "../../state.ts";

interface Props {
  entity: string;
  project: string;
  selected: ReadonlySet<string>;
  remove: () => void;
  clear: () => void;
}

export function Bulk({ entity, project, selected, remove, clear }: Props) {
  const { size } = selected;
  const open = (href: string): void => {
    change({ runs: [...selected] });
    go(href + kept("runs", "filter", "order"));
  };
  return (
    <div class="pop bulk" role="toolbar" aria-label="Selected runs">
      <b class="strong">
        {size} {size === 1 ? "run" : "runs"} selected
      </b>
      <button
        class="btn quiet"
        disabled={size > MOST}
        title={size > MOST ? `At most ${MOST} runs are drawn` : ""}
        onClick={() => open(workspaceHref(entity, project))}
      >
        <Icon name="eye" />
        Draw
      </button>
      <button
        class="btn quiet"
        disabled={size < 2 || size > MOST_SIDES}
        title={size < 2 || size > MOST_SIDES ? `2 to ${MOST_SIDES} runs can be compared` : ""}
        onClick={() => open(compareHref(entity, project))}
      >
        <Icon name="compare" />
        Compare
      </button>
      <button class="btn quiet danger" onClick={remove}>
        Delete
      </button>
      <button class="btn quiet" aria-label="Clear the selection" onClick={clear}>
        <Icon name="x" />
      </button>
    </div>
  );
}
