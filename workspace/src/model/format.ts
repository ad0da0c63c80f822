// Formats numbers, steps, durations and times for people. Pure. Uses the typographic minus throughout.

const GROUPED = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });

/** A logged value in five significant digits; the exact one belongs beside it (`exact`). */
export function value(v: number): string {
  if (Number.isNaN(v)) return "NaN";
  if (!Number.isFinite(v)) return v > 0 ? "∞" : "−∞";
  const size = Math.abs(v);
  if (v === 0) return "0";
  if (Number.isInteger(v) && size < 1e15) return GROUPED.format(v).replace("-", "−");
  if (size >= 1e6 || size < 1e-3) return exponent(v, 3);
  const digits = Math.max(0, 4 - Math.floor(Math.log10(size)));
  const fixed = v.toFixed(Math.min(digits, 8));
  const text = String(v).length < fixed.length ? String(v) : fixed; // 0.02, not 0.020000
  const [whole = "", rest = ""] = text.split(".");
  return `${GROUPED.format(BigInt(whole)).replace(/^-?/, v < 0 ? "−" : "")}${rest ? `.${rest}` : ""}`;
}

/** All significant digits, for copying the value. */
export function exact(v: number): string {
  return Object.is(v, -0) ? "-0" : String(v);
}

/** A step; exact at any size when it is a bigint. */
export function step(s: number | bigint): string {
  return GROUPED.format(s).replace("-", "−");
}

/** A count: exact below a million, then "38.2 M". */
export function count(n: number): string {
  if (Math.abs(n) < 1e6) return step(Math.round(n));
  const [scale, word] = n >= 1e12 ? [1e12, "T"] : n >= 1e9 ? [1e9, "B"] : [1e6, "M"];
  return `${significant(n / scale, 3)} ${word}`;
}

/** A count with its noun: "1 line", "2,000 lines". */
export function counted(n: number, noun: string): string {
  return `${count(n)} ${noun}${n === 1 ? "" : "s"}`;
}

/** Bytes in powers of 1,000: "166 MB". */
export function bytes(n: number): string {
  if (n < 1000) return `${n} B`;
  const power = Math.min(4, Math.floor(Math.log10(n) / 3));
  return `${significant(n / 1000 ** power, 3)} ${["B", "kB", "MB", "GB", "TB"][power]}`;
}

/** Seconds: "0.42 s", "38 s", "59 min", "3 h 07 min", "2 d 4 h". */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return "–";
  if (seconds < 0) return `−${duration(-seconds)}`;
  if (seconds < 10) return `${significant(seconds, 2)} s`;
  if (seconds < 59.5) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
  const hours = Math.round(minutes / 60);
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** "29 Nov, 21:16", in the reader's time zone; with the year if it differs from `now`'s. */
export function when(iso: string | number, now: Date = new Date()): string {
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return "–";
  const year = date.getFullYear() === now.getFullYear() ? "" : ` ${date.getFullYear()}`;
  return `${DAY.format(date)}${year}, ${CLOCK.format(date)}`;
}

/** A label of an axis: "5k", "1.5M", "6e−4". */
export function tick(v: number): string {
  const size = Math.abs(v);
  if (v === 0) return "0";
  if (size >= 1e15) return exponent(v, 3);
  const [scale, unit] = size >= 1e12 ? [1e12, "T"] : size >= 1e9 ? [1e9, "B"] : size >= 1e6 ? [1e6, "M"] : [1e3, "k"];
  if (size >= 1e3) return `${plain(v / scale)}${unit}`;
  return size >= 1e-3 ? plain(v) : exponent(v, 3);
}

/** Distinct labels of an axis: "1,000,010" where "1M" would occur twice. */
export function ticks(values: readonly number[]): string[] {
  const short = values.map(tick);
  if (new Set(short).size === new Set(values).size) return short;
  return values.map((v) => (Number.isInteger(v) ? step(v) : plain(v, 15)));
}

function plain(v: number, digits = 6): string {
  return String(Number(v.toPrecision(digits))).replace("-", "−");
}

function significant(v: number, digits: number): string {
  const shown = Number(v.toPrecision(digits));
  return String(shown).replace("-", "−");
}

function exponent(v: number, digits: number): string {
  const [mantissa = "", power = ""] = v.toExponential(digits - 1).split("e");
  const short = mantissa.includes(".") ? mantissa.replace(/\.?0+$/, "") : mantissa;
  return `${short}e${power.replace("+", "")}`.replaceAll("-", "−");
}
