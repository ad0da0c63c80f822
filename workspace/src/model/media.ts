// Converts logged objects to the media that a page can show: pictures, sound, video, HTML, and files to download. Pure.

export type Kind = "image" | "video" | "audio" | "html" | "table" | "solid" | "file";

export interface Item {
  kind: Kind;
  sha256: string;
  path: string;
  caption: string;
  width: number | null;
  height: number | null;
  /** In bytes. */
  size: number | null;
}

type Fields = Record<string, unknown>;

const KINDS: Record<string, Kind> = {
  "image-file": "image",
  "images/separated": "image",
  "video-file": "video",
  videos: "video",
  "audio-file": "audio",
  audio: "audio",
  "html-file": "html",
  html: "html",
  "table-file": "table",
  "object3D-file": "solid",
  object3D: "solid",
  "molecule-file": "solid",
  molecule: "solid",
};

/** The files of a logged value in order; empty for a plain value. */
export function itemsOf(value: unknown): Item[] {
  if (Array.isArray(value)) return value.flatMap(itemsOf);
  if (!isFields(value) || typeof value["_type"] !== "string") return [];
  const kind = KINDS[value["_type"]] ?? "file";
  if (Array.isArray(value["objects"])) return value["objects"].flatMap(itemsOf);
  const captions = Array.isArray(value["captions"]) ? value["captions"] : [];
  if (Array.isArray(value["filenames"]) && Array.isArray(value["files"])) {
    const files = new Map(value["files"].filter(isFields).map((file) => [file["path"], file]));
    return value["filenames"].flatMap((name, i) => item(files.get(name), kind, captions[i], value));
  }
  if (Array.isArray(value["files"])) return value["files"].flatMap((file, i) => item(file, kind, captions[i], {}));
  return item(value, kind, value["caption"], value);
}

/** The URL of a file's content; the name determines its type. */
export function blobHref(file: { sha256: string; path: string }): string {
  return `/v1/blobs/${file.sha256}?name=${encodeURIComponent(file.path.slice(file.path.lastIndexOf("/") + 1))}`;
}

function item(file: unknown, kind: Kind, caption: unknown, about: Fields): Item[] {
  if (!isFields(file) || typeof file["sha256"] !== "string" || !/^[0-9a-f]{64}$/u.test(file["sha256"])) return [];
  const number = (key: string): number | null => (typeof about[key] === "number" ? about[key] : null);
  return [
    {
      kind,
      sha256: file["sha256"],
      path: typeof file["path"] === "string" ? file["path"] : "file",
      caption: typeof caption === "string" ? caption : "",
      width: number("width"),
      height: number("height"),
      size: typeof file["size"] === "number" ? file["size"] : null,
    },
  ];
}

const isFields = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value);
