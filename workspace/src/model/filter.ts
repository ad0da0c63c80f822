// Compiles the filter that users type above the runs to that of the server (docs/reading.md, "Filters"):
//   state in (running, finished) and tag != smoke and (config.lr < 1e-3 or eval/loss < 3.2)
// Words without an operator are searched in the run's name. Pure.

export interface Compiled {
  /** The filter for the server; null: every run matches. */
  filters: Record<string, unknown> | null;
  /** The error for users; null: none. */
  error: string | null;
}

const FIELDS: Record<string, string> = {
  name: "display_name",
  id: "name",
  state: "state",
  tag: "tags",
  tags: "tags",
  note: "notes",
  notes: "notes",
  group: "group",
  job: "job_type",
  job_type: "job_type",
  host: "host",
  user: "username",
  step: "last_step",
  last_step: "last_step",
  duration: "duration",
  created: "created_at",
  created_at: "created_at",
  exit_code: "exit_code",
};
const OPERATORS: Record<string, string> = {
  "=": "$eq",
  "==": "$eq",
  "!=": "$ne",
  "<": "$lt",
  "<=": "$lte",
  ">": "$gt",
  ">=": "$gte",
  "~": "$regex",
};
const TOKEN = /\s*(?:("(?:[^"\\]|\\.)*")|(<=|>=|==|!=|[=<>~(),])|([^\s=<>~!(),"]+))/uy;

interface Token {
  kind: "text" | "sign" | "word";
  text: string;
}

class Wrong extends Error {}

/** @param config tells keys of configs from metrics: a bare "lr" that is one means config.lr, anything else a summary. */
export function compile(text: string, config: (key: string) => boolean = () => false): Compiled {
  if (text.trim() === "") return { filters: null, error: null };
  try {
    const parser = new Parser(tokens(text), config);
    return { filters: parser.whole(), error: null };
  } catch (error) {
    if (error instanceof Wrong) return { filters: null, error: error.message };
    throw error;
  }
}

/** A filter as JSON for the server; runs that are archived are left out unless they are wanted. */
export function sent(filters: Record<string, unknown> | null, archived: boolean): string | null {
  if (archived) return filters === null ? null : JSON.stringify(filters);
  const usual = { archived_at: { $exists: false } };
  return JSON.stringify(filters === null ? usual : { $and: [usual, filters] });
}

function tokens(text: string): Token[] {
  const found: Token[] = [];
  TOKEN.lastIndex = 0;
  const end = text.trimEnd().length;
  while (TOKEN.lastIndex < end) {
    const at = TOKEN.lastIndex;
    const match = TOKEN.exec(text);
    if (match === null) throw new Wrong(`“${text.slice(at, at + 12).trim()}” is not understood`);
    if (match[1] !== undefined) found.push({ kind: "text", text: JSON.parse(match[1]) as string });
    else if (match[2] !== undefined) found.push({ kind: "sign", text: match[2] });
    else found.push({ kind: "word", text: match[3]! });
  }
  return found;
}

class Parser {
  #tokens: Token[];
  #at = 0;
  #config: (key: string) => boolean;

  constructor(found: Token[], config: (key: string) => boolean) {
    this.#tokens = found;
    this.#config = config;
  }

  whole(): Record<string, unknown> {
    const found = this.#either();
    if (this.#at < this.#tokens.length) throw new Wrong(`“${this.#tokens[this.#at]!.text}” is one too many`);
    return found;
  }

  #either(): Record<string, unknown> {
    const parts = [this.#both()];
    while (this.#take("or")) parts.push(this.#both());
    return parts.length === 1 ? parts[0]! : { $or: parts };
  }

  #both(): Record<string, unknown> {
    const parts = [this.#one()];
    // Adjacent conditions must all hold, as in a search box.
    while (this.#take("and") || !this.#ends()) parts.push(this.#one());
    return parts.length === 1 ? parts[0]! : { $and: parts };
  }

  #ends(): boolean {
    const next = this.#tokens[this.#at];
    return next === undefined || next.text === ")" || (next.kind === "word" && next.text === "or");
  }

  #one(): Record<string, unknown> {
    if (this.#take("not")) return { $nor: [this.#one()] };
    if (this.#take("(")) {
      const inside = this.#either();
      this.#expect(")");
      return inside;
    }
    const name = this.#next("a condition");
    if (name.kind === "sign") throw new Wrong(`a name is missing before “${name.text}”`);
    if (this.#take("in")) return { [this.#field(name.text)]: { $in: this.#list() } };
    const sign = this.#tokens[this.#at];
    const operator = sign?.kind === "sign" ? OPERATORS[sign.text] : undefined;
    if (operator === undefined) return { display_name: { $regex: `(?i)${literal(name.text)}` } };
    this.#at += 1;
    const given = this.#next(`a value after “${sign!.text}”`);
    if (given.kind === "sign") throw new Wrong(`a value is missing after “${sign!.text}”`);
    const field = this.#field(name.text);
    return { [field]: { [operator]: operator === "$regex" ? given.text : typed(given, field) } };
  }

  #list(): unknown[] {
    this.#expect("(");
    const found: unknown[] = [];
    do found.push(typed(this.#next("a value"), ""));
    while (this.#take(","));
    this.#expect(")");
    return found;
  }

  #field(name: string): string {
    if (Object.hasOwn(FIELDS, name)) return FIELDS[name]!;
    if (name.startsWith("config.")) return name;
    if (name.startsWith("summary.")) return `summary_metrics.${name.slice("summary.".length)}`;
    return this.#config(name) ? `config.${name}` : `summary_metrics.${name}`;
  }

  #take(text: string): boolean {
    const next = this.#tokens[this.#at];
    if (next === undefined || next.kind === "text" || next.text !== text) return false;
    this.#at += 1;
    return true;
  }

  #next(wanted: string): Token {
    const next = this.#tokens[this.#at];
    if (next === undefined) throw new Wrong(`${wanted} is missing at the end`);
    this.#at += 1;
    return next;
  }

  #expect(text: string): void {
    if (!this.#take(text)) throw new Wrong(`“${text}” is missing`);
  }
}

const TEXTS = new Set([
  "display_name",
  "name",
  "state",
  "notes",
  "group",
  "job_type",
  "host",
  "username",
  "created_at",
]);

function typed(token: Token, field: string): unknown {
  if (token.kind === "text" || TEXTS.has(field)) return token.text;
  if (token.text === "null" || token.text === "true" || token.text === "false") return JSON.parse(token.text);
  const number = Number(token.text);
  return Number.isFinite(number) ? number : token.text;
}

const literal = (text: string): string => text.replaceAll(/[\\^$.*+?()[\]{}|]/gu, "\\$&");
