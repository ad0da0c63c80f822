// The page of a server that requires an API key, shown in place of any page until the reader has signed in.

import { useSignal } from "@preact/signals";
import { signIn } from "../data/sign-in.ts";
import { Icon } from "./icon.tsx";

export function SignIn() {
  const busy = useSignal(false);
  const refusal = useSignal("");
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    const given = new FormData(event.currentTarget as HTMLFormElement).get("key");
    busy.value = true;
    refusal.value = (await signIn(String(given).trim())) ?? "";
    busy.value = false;
    if (!refusal.value) location.reload();
  };
  return (
    <div class="page">
      <header class="top">
        <span class="logo">
          <Icon name="logo" />
        </span>
      </header>
      <main class="empty">
        <h1>Sign in</h1>
        <p>
          This server requires an API key. <code>stepwell keys create</code> on the server makes one.
        </p>
        <form class="signin" onSubmit={submit}>
          <label class="field grow">
            <input type="password" name="key" aria-label="API key" placeholder="stw_…" required autofocus />
          </label>
          <button class="btn pri" disabled={busy.value}>
            Sign in
          </button>
        </form>
        <p role="alert">{refusal.value}</p>
      </main>
    </div>
  );
}
