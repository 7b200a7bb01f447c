import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vitest/config";

export default defineConfig(({ mode }) => ({
  plugins: [svelte()],
  // Tauri serves the page from the root of its own scheme; a relative base also works from a file.
  base: "./",
  clearScreen: false,
  server: { port: 5173, strictPort: true },
  build: {
    // WebKitGTK 2.44 and macOS 13.3 are the oldest webviews with WebCodecs video.
    target: ["safari16.4", "chrome111"],
    sourcemap: false,
  },
  // Without this, Vitest resolves Svelte's server build and components cannot be mounted.
  resolve: mode === "test" ? { conditions: ["browser"] } : {},
  test: {
    environment: "happy-dom",
    include: ["src/**/*.test.ts"],
    restoreMocks: true,
    // By itself it leaves one processor free, which is half of two.
    maxWorkers: "100%",
    // A busy machine is no failure. Longer only delays the word on a test that hangs.
    testTimeout: 60_000,
  },
}));
