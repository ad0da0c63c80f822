// Which rows of a long table are near the visible part: only those are in the document.

import { useSignal } from "@preact/signals";
import type { RefObject } from "preact";
import { useEffect, useRef } from "preact/hooks";

const ROW = 28;
const SPARE = 10;

export interface Window {
  /** The scrolling element. */
  box: RefObject<HTMLDivElement | null>;
  /** To be called when it scrolls. */
  look: () => void;
  /** The rows to show, and the height of the gaps before and behind them. */
  from: number;
  to: number;
  before: string;
  behind: string;
}

/** @param onEnd is called when the last row comes near. */
export function useWindow(count: number, onEnd?: () => void): Window {
  const box = useRef<HTMLDivElement>(null);
  const seen = useSignal<readonly [number, number]>([0, 60]);
  const height = rowHeight();
  const look = (): void => {
    const element = box.current;
    if (!element) return;
    const from = Math.max(0, Math.floor(element.scrollTop / height) - SPARE);
    const to = Math.ceil((element.scrollTop + element.clientHeight) / height) + SPARE;
    if (from !== seen.value[0] || to !== seen.value[1]) seen.value = [from, to];
    if (to >= count) onEnd?.();
  };
  const latest = useRef(look);
  latest.current = look;
  useEffect(() => {
    const observer = new ResizeObserver(() => latest.current());
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);
  useEffect(look, [count]);
  const [from, to] = [Math.min(seen.value[0], count), Math.min(seen.value[1], count)];
  return { box, look, from, to, before: `${from * height}px`, behind: `${(count - to) * height}px` };
}

function rowHeight(): number {
  return Number.parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--row")) || ROW;
}
