import { defineConfig } from 'vitest/config'

// Pictures are for a person to look at: they are taken only when asked for, with SCREENSHOTS=1.
const pictures = process.env.SCREENSHOTS
export default defineConfig({
  test: {
    root: new URL('..', import.meta.url).pathname,
    environment: 'node',
    include: pictures ? ['e2e/specs/screen*.spec.ts'] : ['e2e/specs/*.spec.ts'],
    exclude: pictures ? [] : ['e2e/specs/screenshots.spec.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    fileParallelism: false,
  },
})
