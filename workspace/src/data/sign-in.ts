// Whether the server wants an API key, and signing in with one. The cookie is out of reach for scripts.

import { signal } from "@preact/signals";

const MARK = "stepwell.signed-in";

/** Set when an answer said that the reader is not signed in. */
export const needsKey = signal(false);

/** Whether this browser has signed in, as far as the page knows. */
export const signedIn = signal(read());

/** Signs in; the message of the server when it refuses the key. */
export async function signIn(key: string): Promise<string | null> {
  let reply: Response;
  try {
    reply = await ask("POST", JSON.stringify({ key }));
  } catch {
    return "The server does not answer.";
  }
  if (reply.ok) {
    mark(true);
    return null;
  }
  const body = (await reply.json().catch(() => null)) as { error?: { message?: string; detail?: string } } | null;
  const { message = `the server answered ${reply.status}`, detail } = body?.error ?? {};
  return `${message.charAt(0).toUpperCase()}${message.slice(1)}${detail ? ` (${detail})` : ""}.`;
}

export async function signOut(): Promise<void> {
  await ask("DELETE", null).catch(() => null);
  mark(false);
}

const ask = (method: string, body: string | null): Promise<Response> =>
  fetch("/v1/sign-in", { method, body, headers: body ? { "Content-Type": "application/json" } : {} });

function read(): boolean {
  try {
    return localStorage.getItem(MARK) !== null;
  } catch {
    return false; // the browser keeps nothing for this page
  }
}

function mark(on: boolean): void {
  signedIn.value = on;
  try {
    if (on) localStorage.setItem(MARK, "1");
    else localStorage.removeItem(MARK);
  } catch {
    // the button to sign out is missing, then
  }
}
