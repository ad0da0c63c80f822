// A list of many rows of the same height: only visible ones are in the document.

import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";

const SPARE = 8;

interface Props {
  count: number;
  row: (index: number) => ComponentChildren;
  /** Called when the user approaches the last row. */
  onEnd?: () => void;
  label: string;
  class?: string;
  /** Content above the rows, inside the scrolling area. */
  head?: ComponentChildren;
  role?: "list" | "log";
}

export function VirtualList({ count, row, onEnd, label, class: name = "", head, role = "list" }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const height = useSignal(28);
  const seen = useSignal<[number, number]>([0, 40]);
  const look = (): void => {
    const element = box.current;
    if (!element) return;
    const size = Number.parseFloat(getComputedStyle(element).getPropertyValue("--row")) || 28;
    height.value = size;
    const from = Math.max(0, Math.floor(element.scrollTop / size) - SPARE);
    const to = Math.ceil((element.scrollTop + element.clientHeight) / size) + SPARE;
    if (from !== seen.value[0] || to !== seen.value[1]) seen.value = [from, to];
    if (onEnd && to >= count) onEnd();
  };
  useEffect(() => {
    const observer = new ResizeObserver(look);
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);
  useEffect(look, [count]);
  const [from, to] = seen.value;
  const last = Math.min(count, to);
  const rows: ComponentChildren[] = [];
  for (let i = Math.min(from, last); i < last; i += 1) rows.push(row(i));
  return (
    <div class={`virtual ${name}`} ref={box} onScroll={look} role={role} aria-label={label} tabIndex={0}>
      {head}
      <div style={{ height: `${Math.min(from, last) * height.value}px` }} />
      {rows}
      <div style={{ height: `${Math.max(0, count - last) * height.value}px` }} />
    </div>
  );
}
