// All projects of the server; without any, how to log the first run.

import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { type ApiError, get, type Project, told } from "../data/api.ts";
import * as format from "../model/format.ts";
import { runsHref, workspaceHref } from "../model/place.ts";
import { Icon } from "../parts/icon.tsx";
import { Failure } from "../parts/marks.tsx";
import { Top } from "../parts/top.tsx";

const NEWS_MS = 5000;

const projects = signal<Project[] | null>(null);
const error = signal<ApiError | null>(null);

async function read(): Promise<void> {
  try {
    projects.value = (await get<{ projects: Project[] }>("/v1/projects")).projects;
    error.value = null;
  } catch (problem) {
    error.value = told(problem);
  }
}

export default function Projects() {
  useEffect(() => {
    document.title = "Projects · Stepwell";
    void read();
    const timer = setInterval(() => !document.hidden && void read(), NEWS_MS);
    return () => clearInterval(timer);
  }, []);
  const found = projects.value;
  return (
    <div class="page">
      <Top />
      <main class="narrow">
        {error.value && <Failure error={error.value} again={() => void read()} />}
        {found && (found.length === 0 ? <First /> : <Table projects={found} />)}
      </main>
    </div>
  );
}

function Table({ projects: found }: { projects: Project[] }) {
  const entities = new Set(found.map((item) => item.entity));
  return (
    <div class="card scroll">
      <table class="t wide">
        <thead>
          <tr>
            <th>Project</th>
            {entities.size > 1 && <th>Entity</th>}
            <th class="num">Runs</th>
            <th>Running</th>
            <th class="num">Newest run</th>
            <th />
          </tr>
        </thead>
        <tbody>
          {found.map((item) => (
            <tr key={`${item.entity}/${item.project}`}>
              <td class="strong">
                <a class="plain" href={workspaceHref(item.entity, item.project)}>
                  {item.project}
                </a>
              </td>
              {entities.size > 1 && <td class="mid">{item.entity}</td>}
              <td class="num">{format.count(item.runs)}</td>
              <td>
                {item.running > 0 && (
                  <span class="st running">
                    <Icon name="running" />
                    {format.count(item.running)}
                  </span>
                )}
              </td>
              <td class="num">{format.when(item.newest_run_at)}</td>
              <td class="num">
                <a href={runsHref(item.entity, item.project)}>Runs</a>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function First() {
  const install = `pip install stepwell\nexport STEPWELL_URL=${location.origin}`;
  const script = `import stepwell\n\nwith stepwell.init(project="mnist", config={"lr": 3e-4}) as run:\n    for batch in batches:\n        run.log({"train/loss": train(batch)})`;
  return (
    <div class="card first">
      <h1>Log your first run</h1>
      <p>This server has no projects. One appears here by itself, as soon as a run starts.</p>
      <Step number={1} title="On the machine that trains" code={install} />
      <Step number={2} title="In your script, or swap one import: import stepwell as wandb" code={script} />
      <div class="wait">
        <span class="live">Listening on {location.host}</span>
      </div>
    </div>
  );
}

function Step({ number, title, code }: { number: number; title: string; code: string }) {
  return (
    <div class="step">
      <span>{number}</span>
      <div>
        {title}
        <div class="code">
          {code}
          <button class="btn" onClick={() => void navigator.clipboard?.writeText(code).catch(() => undefined)}>
            <Icon name="copy" />
            Copy
          </button>
        </div>
      </div>
    </div>
  );
}
