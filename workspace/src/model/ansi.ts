// Console lines as texts with colours, from the escape sequences of terminals for the look of text. Pure. All other
// sequences are left out, and after a carriage return only the last text is shown, as for a progress bar.

export interface Span {
  text: string;
  /** Classes such as "a-red a-bold"; "": plain. */
  look: string;
}

const NAMES = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];
// eslint-disable-next-line no-control-regex -- they are what is looked for
const SEQUENCE = /\u001b(?:\[([0-9;:]*)([@-~])|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[@-Z\\-_])/gu;

export function spans(line: string): Span[] {
  const shown = line.replace(/\r+$/u, "");
  const text = shown.slice(shown.lastIndexOf("\r") + 1);
  const found: Span[] = [];
  let look = new Map<string, string>();
  let from = 0;
  const put = (to: number): void => {
    if (to > from) found.push({ text: text.slice(from, to), look: [...look.values()].join(" ") });
  };
  for (const match of text.matchAll(SEQUENCE)) {
    put(match.index);
    from = match.index + match[0].length;
    if (match[2] === "m") look = styled(look, match[1] ?? "");
  }
  put(text.length);
  return found;
}

function styled(before: ReadonlyMap<string, string>, codes: string): Map<string, string> {
  let look = new Map(before);
  const numbers = codes.split(/[;:]/u).map(Number);
  for (let i = 0; i < numbers.length; i += 1) {
    const code = numbers[i]!;
    if (code === 0) look = new Map();
    else if (code === 1) look.set("weight", "a-bold");
    else if (code === 2) look.set("weight", "a-faint");
    else if (code === 3) look.set("slant", "a-italic");
    else if (code === 4) look.set("line", "a-underline");
    else if (code === 22) look.delete("weight");
    else if (code === 23) look.delete("slant");
    else if (code === 24) look.delete("line");
    else if (code >= 30 && code <= 37) look.set("colour", `a-${NAMES[code - 30]}`);
    else if (code >= 90 && code <= 97) look.set("colour", `a-${NAMES[code - 90]}`);
    else if (code === 39) look.delete("colour");
    else if (code === 38 || code === 48) i += numbers[i + 1] === 5 ? 2 : 4; // colours of 256 and more: as if there were none
  }
  return look;
}
