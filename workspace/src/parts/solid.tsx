// A 3D object or a molecule: read, drawn and turned here. A chunk of its own, loaded when the first one is shown.

import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { isAbort, send, told } from "../data/api.ts";
import { type Camera, cameraFor, Raster } from "../solid/raster.ts";
import { readShape } from "../solid/read.ts";
import { boundsOf, type Shape, ShapeError } from "../solid/shape.ts";
import { Icon } from "./icon.tsx";

const TURN = 0.12;
const ZOOM = 1.15;
/** So few points are drawn larger. */
const FEW = 2000;
const STEEPEST = Math.PI / 2 - 0.01;

interface Props {
  href: string;
  /** The name of the file, whose end says its format. */
  name: string;
  title: string;
}

export default function Solid({ href, name, title }: Props) {
  const shape = useSignal<Shape | null>(null);
  const error = useSignal<{ message: string; hint: string } | null>(null);
  const busy = useSignal(true);
  useEffect(() => {
    const abort = new AbortController();
    const load = async (): Promise<void> => {
      try {
        const reply = await send(href, { signal: abort.signal });
        shape.value = readShape(name, new Uint8Array(await reply.arrayBuffer()));
      } catch (problem) {
        if (isAbort(problem)) return;
        error.value = problem instanceof ShapeError ? problem : told(problem);
      } finally {
        busy.value = false;
      }
    };
    void load();
    return () => abort.abort();
  }, [href, name]);
  if (error.value)
    return (
      <div class="ph">
        <b>{error.value.message}</b>
        <span>{error.value.hint}</span>
        <a href={href} download>
          Download
        </a>
      </div>
    );
  if (!shape.value) return <div class="ph">{busy.value && <span>Reading…</span>}</div>;
  return <Picture shape={shape.value} title={title} />;
}

function Picture({ shape, title }: { shape: Shape; title: string }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const camera = useRef<Camera>(cameraFor(boundsOf(shape)));
  const frame = useRef(0);
  const moving = useRef(false);
  const draw = (): void => {
    cancelAnimationFrame(frame.current);
    frame.current = requestAnimationFrame(() => {
      const element = canvas.current;
      if (!element || element.clientWidth === 0) return;
      const ratio = moving.current ? 1 : Math.min(2, devicePixelRatio);
      const [width, height] = [element.clientWidth, element.clientHeight].map((one) => Math.round(one * ratio));
      const raster = new Raster(width!, height!);
      raster.draw(shape, camera.current, (shape.points.length > 3 * FEW ? 1.4 : 3) * ratio);
      [element.width, element.height] = [width!, height!];
      element.getContext("2d")?.putImageData(new ImageData(raster.pixels, width!, height!), 0, 0);
      element.dataset["turn"] = camera.current.turn.toFixed(2);
    });
  };
  const turn = (by: number, up: number): void => {
    const { turn: at, tilt, ...rest } = camera.current;
    camera.current = { ...rest, turn: at + by, tilt: Math.max(-STEEPEST, Math.min(STEEPEST, tilt + up)) };
    draw();
  };
  const zoom = (by: number): void => {
    camera.current = { ...camera.current, distance: camera.current.distance * by };
    draw();
  };
  const reset = (): void => {
    camera.current = cameraFor(boundsOf(shape));
    draw();
  };
  useEffect(() => {
    reset();
    const element = canvas.current!;
    const observer = new ResizeObserver(draw);
    observer.observe(element);
    // The page scrolls over an object that has not been chosen.
    const wheel = (event: WheelEvent): void => {
      if (document.activeElement !== element) return;
      event.preventDefault();
      zoom(event.deltaY > 0 ? ZOOM : 1 / ZOOM);
    };
    element.addEventListener("wheel", wheel, { passive: false });
    return () => {
      cancelAnimationFrame(frame.current);
      observer.disconnect();
      element.removeEventListener("wheel", wheel);
    };
  }, [shape]);
  const onKeyDown = (event: KeyboardEvent): void => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (step) turn(TURN * step[0]!, TURN * step[1]!);
    else if (event.key === "+" || event.key === "-") zoom(event.key === "+" ? 1 / ZOOM : ZOOM);
    else if (event.key === "0") reset();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return (
    <div class="solid">
      <canvas
        ref={canvas}
        role="img"
        tabIndex={0}
        aria-label={`${title}: ${shape.about}. Arrow keys turn it, plus and minus zoom, 0 shows it as at first.`}
        onKeyDown={onKeyDown}
        onPointerDown={(event) => {
          event.currentTarget.setPointerCapture(event.pointerId);
          moving.current = true;
        }}
        onPointerMove={(event) => {
          if (moving.current) turn(event.movementX * 0.01, event.movementY * 0.01);
        }}
        onPointerUp={() => {
          moving.current = false;
          draw();
        }}
        onPointerCancel={() => (moving.current = false)}
      />
      <div class="row">
        <span class="dim cut grow">{shape.about}</span>
        <button class="btn quiet mini" aria-label={`Zoom into ${title}`} onClick={() => zoom(1 / ZOOM)}>
          <Icon name="plus" />
        </button>
        <button class="btn quiet mini" aria-label={`Zoom out of ${title}`} onClick={() => zoom(ZOOM)}>
          <Icon name="minus" />
        </button>
        <button class="btn quiet mini" aria-label={`Show ${title} as at first`} title="As at first (0)" onClick={reset}>
          <Icon name="undo" />
        </button>
      </div>
    </div>
  );
}
