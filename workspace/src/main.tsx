// The entry point: styles, theme, and the page of the URL. Each page is a file in `pages/`, with its name from
// `model/place.ts`, and is loaded when it is opened.

import { signal } from "@preact/signals";
import { type ComponentType, render } from "preact";
import { followTheme } from "./chart/theme.ts";
import { needsKey } from "./data/sign-in.ts";
import { SignIn } from "./parts/sign-in.tsx";
import { Top } from "./parts/top.tsx";
import { place } from "./state.ts";
import "./styles/tokens.css";
import "./styles/components.css";
import "./styles/app.css";

// eslint-disable-next-line typescript/no-explicit-any -- each page has props of its own, which its address gives
type Page = ComponentType<any>;
const PAGES = import.meta.glob<{ default: Page }>("./pages/*.tsx");

const loaded = signal<Record<string, Page>>({});
const failed = signal(false);

function App() {
  if (needsKey.value) return <SignIn />;
  const here = place.value;
  const load = PAGES[`./pages/${here.page}.tsx`];
  if (!load) return <Unknown />;
  const Found = loaded.value[here.page];
  if (Found) return <Found {...here} />;
  if (failed.value) return <Unloaded />;
  load().then(
    (module) => (loaded.value = { ...loaded.value, [here.page]: module.default }),
    () => (failed.value = true),
  );
  return null;
}

function Unknown() {
  return (
    <div class="page">
      <Top />
      <main class="empty">
        <h1>There is no such page</h1>
        <p>Addresses of runs look like /entity/project/runs/run.</p>
        <a class="btn" href="/">
          All projects
        </a>
      </main>
    </div>
  );
}

function Unloaded() {
  return (
    <div class="page">
      <main class="empty">
        <h1>This page could not be loaded</h1>
        <p>The server may be away, or was upgraded since this page was opened.</p>
        <button class="btn pri" onClick={() => location.reload()}>
          Load again
        </button>
      </main>
    </div>
  );
}

followTheme();
render(<App />, document.getElementById("app")!);
