import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    root: new URL('..', import.meta.url).pathname,
    // The pictures test nothing: they are made on their own.
    include: process.env.SCREENSHOTS ? ['e2e/specs/screenshots.spec.ts'] : ['e2e/specs/*.spec.ts'],
    exclude: process.env.SCREENSHOTS ? [] : ['e2e/specs/screenshots.spec.ts'],
    environment: 'node',
    fileParallelism: false,
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
})
