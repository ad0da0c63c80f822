// The icons, 16 × 16, as single strokes.

const PATHS = {
  eye: "M1.5 8S4 3.5 8 3.5 14.5 8 14.5 8 12 12.5 8 12.5 1.5 8 1.5 8ZM8 10a2 2 0 1 0 0-4 2 2 0 0 0 0 4Z",
  off: "M3 13 13 3M5 4.5C2.8 5.8 1.5 8 1.5 8S4 12.5 8 12.5c1 0 2-.3 2.8-.7M8 3.5c4 0 6.5 4.5 6.5 4.5s-.5.9-1.5 2",
  search: "M7 11.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9ZM10.5 10.5 14 14",
  filter: "M2 4h12M4.5 8h7M6.5 12h3",
  cols: "M2.5 3h11v10h-11zM6.2 3v10M9.8 3v10",
  down: "m4.5 6.5 3.5 3.5 3.5-3.5",
  right: "m6.5 4.5 3.5 3.5-3.5 3.5",
  left: "m9.5 4.5-3.5 3.5 3.5 3.5",
  link: "M6.5 9.5 9.5 6.5M7 4.5l1-1a3 3 0 0 1 4.5 4.5l-1 1M9 11.5l-1 1A3 3 0 0 1 3.5 8l1-1",
  more: "M3.500 8h.01M8 8h.01M12.500 8h.01",
  group: "M2.500 3h11M5.500 8h8M5.500 13h8M2.500 6v7h1M2.500 8h1",
  compare: "M2.500 3h4v10h-4zM9.500 3h4v10h-4z",
  plus: "M8 3v10M3 8h10",
  x: "m4.5 4.5 7 7M11.5 4.5l-7 7",
  copy: "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
  dl: "M8 2.5v8M4.5 7.5 8 11l3.5-3.5M3 13.5h10",
  full: "M9.5 2.5h4v4M6.5 13.5h-4v-4M13.5 2.5 9.5 6.5M2.5 13.5l4-4",
  running: "M8 13.5a5.5 5.5 0 1 0 0-11 5.5 5.5 0 0 0 0 11ZM8 9.5a1.5 1.5 0 1 0 0-3 1.5 1.5 0 0 0 0 3Z",
  finished: "m3.5 8.5 3 3 6-7",
  failed: "m4 4 8 8M12 4l-8 8",
  crashed: "M9 2 4.5 8.5H8L7 14l4.5-6.5H8z",
  warn: "M8 2.5 14.5 13.5h-13zM8 6.5v3.5M8 12h.01",
  desc: "M8 3v10M4.5 9.5 8 13l3.5-3.5",
  asc: "M8 13V3M4.5 6.5 8 3l3.5 3.5",
  undo: "M5.5 3 2.5 6l3 3M2.5 6h7a4 4 0 0 1 0 8H6",
  tag: "M2.5 2.5h5.5l5.5 5.5-5.5 5.5L2.5 8zM5.5 5.5h.01",
  logo: "M1.5 3h13M3.5 3v3.5h2.25V10H8v3.5M12.5 3v3.5h-2.25V10H8",
  moon: "M13 9.5A5.5 5.5 0 0 1 6.5 3 5.5 5.5 0 1 0 13 9.5Z",
  sun: "M8 10.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5ZM8 1.5v1.500M8 13v1.500M1.500 8H3M13 8h1.500M3.400 3.400l1 1M11.600 11.600l1 1M12.600 3.400l-1 1M4.400 11.600l-1 1",
  side: "M2.5 3h11v10h-11zM6.500 3v10",
  play: "M4.500 3v10l8-5z",
  stop: "M4 4h8v8H4z",
  file: "M4 1.500h5l3 3v10H4zM9 1.500v3h3",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="i" viewBox="0 0 16 16" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
