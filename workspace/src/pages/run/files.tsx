// The files that a run has saved, for download.

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { type ApiError, get, told } from "../../data/api.ts";
import * as format from "../../model/format.ts";
import { blobHref } from "../../model/media.ts";
import { Failure } from "../../parts/marks.tsx";
import type { TabProps } from "../run.tsx";

interface SavedFile {
  name: string;
  sha256: string;
  size: number;
  time: string;
  writer: string;
}

export function Files({ address }: TabProps) {
  const files = useSignal<SavedFile[] | null>(null);
  const next = useSignal<string | null>(null);
  const error = useSignal<ApiError | null>(null);
  const load = async (cursor: string | null): Promise<void> => {
    try {
      const found = await get<{ files: SavedFile[]; next: string | null }>(`${address}/files`, { cursor, limit: 500 });
      files.value = cursor === null ? found.files : [...(files.value ?? []), ...found.files];
      next.value = found.next;
      error.value = null;
    } catch (problem) {
      error.value = told(problem);
    }
  };
  useEffect(() => void load(null), [address]);
  return (
    <main class="narrow">
      {error.value && <Failure error={error.value} again={() => void load(null)} />}
      {files.value?.length === 0 && (
        <div class="empty">
          <h1>No files</h1>
          <p>
            <code>run.save("model.pt")</code> keeps a file with the run. It appears here once its bytes have come.
          </p>
        </div>
      )}
      {files.value && files.value.length > 0 && (
        <div class="card scroll">
          <table class="t wide">
            <thead>
              <tr>
                <th>Name</th>
                <th class="num">Size</th>
                <th class="num">Saved</th>
                <th>Writer</th>
              </tr>
            </thead>
            <tbody>
              {files.value.map((file) => (
                <tr key={file.name}>
                  <td>
                    <a
                      href={blobHref({ sha256: file.sha256, path: file.name })}
                      download={file.name.slice(file.name.lastIndexOf("/") + 1)}
                    >
                      {file.name}
                    </a>
                  </td>
                  <td class="num">{format.bytes(file.size)}</td>
                  <td class="num">{format.when(file.time)}</td>
                  <td>{file.writer}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {next.value !== null && (
        <button class="btn" onClick={() => void load(next.value)}>
          More
        </button>
      )}
    </main>
  );
}
