// What is drawn with: a canvas, or a pen that writes SVG. Pure.

/** The part of a canvas' context that charts use. */
export interface Pen {
  strokeStyle: string | CanvasGradient | CanvasPattern;
  fillStyle: string | CanvasGradient | CanvasPattern;
  globalAlpha: number;
  lineWidth: number;
  lineJoin: CanvasLineJoin;
  lineDashOffset?: number;
  font: string;
  textAlign: CanvasTextAlign;
  /** Whether a path of any length is drawn as it is; a canvas draws many short ones faster. */
  readonly keepsPaths?: boolean;
  save(): void;
  restore(): void;
  beginPath(): void;
  rect(x: number, y: number, width: number, height: number): void;
  clip(): void;
  moveTo(x: number, y: number): void;
  lineTo(x: number, y: number): void;
  arc(x: number, y: number, radius: number, from: number, to: number): void;
  stroke(): void;
  fill(): void;
  fillRect(x: number, y: number, width: number, height: number): void;
  fillText(text: string, x: number, y: number): void;
  setLineDash(dash: number[]): void;
}

type State = Pick<Pen, "strokeStyle" | "fillStyle" | "globalAlpha" | "lineWidth" | "lineJoin" | "font" | "textAlign">;

const ANCHORS: Partial<Record<CanvasTextAlign, string>> = { right: "end", end: "end", center: "middle" };

/** Writes what is drawn as an SVG document. Texts are escaped, so that names of metrics and runs stay texts. */
export class SvgPen implements Pen {
  readonly keepsPaths = true;
  strokeStyle: Pen["strokeStyle"] = "#000";
  fillStyle: Pen["fillStyle"] = "#000";
  globalAlpha = 1;
  lineWidth = 1;
  lineJoin: CanvasLineJoin = "miter";
  font = "10px sans-serif";
  textAlign: CanvasTextAlign = "start";

  #out: string[] = [];
  #path: string[] = [];
  #dash = "";
  #stack: { state: State; dash: string; clips: number }[] = [];
  #clips = 0;
  #open = 0;

  save(): void {
    const { strokeStyle, fillStyle, globalAlpha, lineWidth, lineJoin, font, textAlign } = this;
    const state = { strokeStyle, fillStyle, globalAlpha, lineWidth, lineJoin, font, textAlign };
    this.#stack.push({ state, dash: this.#dash, clips: this.#open });
  }

  restore(): void {
    const before = this.#stack.pop();
    if (!before) return;
    for (; this.#open > before.clips; this.#open -= 1) this.#out.push("</g>");
    Object.assign(this, before.state);
    this.#dash = before.dash;
  }

  beginPath(): void {
    this.#path = [];
  }

  rect(x: number, y: number, width: number, height: number): void {
    this.#path.push(`M${n(x)} ${n(y)}h${n(width)}v${n(height)}h${n(-width)}z`);
  }

  clip(): void {
    this.#clips += 1;
    this.#open += 1;
    const id = `clip${this.#clips}`;
    this.#out.push(`<clipPath id="${id}"><path d="${this.#path.join("")}"/></clipPath><g clip-path="url(#${id})">`);
  }

  moveTo(x: number, y: number): void {
    this.#path.push(`M${n(x)} ${n(y)}`);
  }

  lineTo(x: number, y: number): void {
    this.#path.push(`${this.#path.length === 0 ? "M" : "L"}${n(x)} ${n(y)}`);
  }

  /** A whole circle: charts draw no other arcs. */
  arc(x: number, y: number, radius: number): void {
    const [r, d] = [n(radius), n(2 * radius)];
    this.#path.push(`M${n(x - radius)} ${n(y)}a${r} ${r} 0 1 0 ${d} 0a${r} ${r} 0 1 0 -${d} 0z`);
  }

  stroke(): void {
    if (this.#path.length === 0) return;
    const dash = this.#dash ? ` stroke-dasharray="${this.#dash}"` : "";
    this.#out.push(
      `<path d="${this.#path.join("")}" fill="none" stroke="${text(String(this.strokeStyle))}"` +
        ` stroke-width="${n(this.lineWidth)}" stroke-linejoin="${this.lineJoin}"${dash}${this.#alpha()}/>`,
    );
  }

  fill(): void {
    if (this.#path.length === 0) return;
    this.#out.push(`<path d="${this.#path.join("")}" fill="${text(String(this.fillStyle))}"${this.#alpha()}/>`);
  }

  fillRect(x: number, y: number, width: number, height: number): void {
    this.#out.push(
      `<rect x="${n(x)}" y="${n(y)}" width="${n(width)}" height="${n(height)}" fill="${text(String(this.fillStyle))}"${this.#alpha()}/>`,
    );
  }

  fillText(what: string, x: number, y: number): void {
    const anchor = ANCHORS[this.textAlign];
    this.#out.push(
      `<text x="${n(x)}" y="${n(y)}" style="font:${text(this.font)}" fill="${text(String(this.fillStyle))}"` +
        `${anchor ? ` text-anchor="${anchor}"` : ""}${this.#alpha()}>${text(what)}</text>`,
    );
  }

  setLineDash(dash: number[]): void {
    this.#dash = dash.map(n).join(" ");
  }

  /** The document. */
  svg(width: number, height: number): string {
    return (
      `<svg xmlns="http://www.w3.org/2000/svg" width="${n(width)}" height="${n(height)}"` +
      ` viewBox="0 0 ${n(width)} ${n(height)}">${this.#out.join("")}${"</g>".repeat(this.#open)}</svg>\n`
    );
  }

  #alpha(): string {
    return this.globalAlpha === 1 ? "" : ` opacity="${n(this.globalAlpha)}"`;
  }
}

const n = (value: number): string => String(Math.round(value * 100) / 100);

const ENTITIES: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

// Without the characters that XML does not have.
function text(given: string): string {
  return given
    .replaceAll(/[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, "\ufffd")
    .replaceAll(/[&<>"]/gu, (character) => ENTITIES[character]!);
}
