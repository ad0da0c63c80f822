// Builds the pages into the server's package, where the wheel and an editable checkout both find them.
import { defineConfig } from "vite";

export default defineConfig({
  build: {
    outDir: "../ingest/stepwell_ingest/workspace",
    emptyOutDir: true,
    // With it, the server names the files of a page at once (api/pages.py).
    manifest: "manifest.json",
    target: "es2022",
    // No inlined assets: the Content-Security-Policy has no data: URL for scripts and styles.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: true,
  },
  // `npm run dev` beside `stepwell up`: the pages reload as they are edited.
  server: { proxy: { "/v1": process.env["STEPWELL_URL"] ?? "http://127.0.0.1:8770" } },
});
