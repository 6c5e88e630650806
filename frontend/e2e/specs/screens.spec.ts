import { mkdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { BrowserContext } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { violations } from '../driver/axe.ts'
import { closeBrowser, context, troubles } from '../driver/browser.ts'
import { Demo } from '../driver/demo.ts'
import { cut, shifts, small, watchShifts } from '../driver/look.ts'
import { filled, rooms, settled, visit } from '../driver/rooms.ts'

// Every screen of the real demo, in both themes and both sizes: nothing that axe finds, nothing cut, nothing that moves by
// itself, no error. With SCREENSHOTS=1 each is kept as a picture in test-artifacts/, to be looked at by a person.

const pictures = process.env.SCREENSHOTS ? fileURLToPath(new URL('../../../test-artifacts/screens/', import.meta.url)) : ''
const proof = process.env.FRESHET_PROOF !== undefined
const sizes = [
  { width: 1440, height: 900 },
  { width: 1024, height: 700 },
]

describe.skipIf(!Demo.built)('every screen', () => {
  const demo = new Demo()
  let session: Awaited<ReturnType<BrowserContext['storageState']>>
  let fill: (hash: string) => string

  beforeAll(async () => {
    if (pictures) mkdirSync(pictures, { recursive: true })
    await demo.start()
    const ctx = await context()
    const page = await ctx.newPage()
    await page.goto(demo.link)
    await page.locator('[data-node="sink:warehouse"]').waitFor({ timeout: 60_000 })
    await demo.freshet('wait', '--sink', 'warehouse', '--caught-up')
    const plan = await demo.replayed()
    fill = await filled((path) => page.evaluate(async (p) => (await fetch(`/api${p}`)).json(), path), plan)
    session = await ctx.storageState()
    await ctx.close()
  }, 180_000)
  afterAll(async () => {
    await closeBrowser()
    await demo.stop()
  })

  for (const theme of ['light', 'dark'] as const)
    for (const size of sizes)
      test(`${theme}, ${size.width} × ${size.height}`, async () => {
        // axe takes most of the time: in CI each theme and each size has it once.
        const whole = proof || (theme === 'light') === (size.width === 1440)
        const ctx = await context({ theme, ...size, motion: 'reduce', session })
        const page = await ctx.newPage()
        const wrong = troubles(page, demo.url)
        await watchShifts(page)
        await page.goto(`${demo.url}/#/`)
        await page.locator('[data-node]').first().waitFor()
        const found: string[] = []
        for (const room of rooms) {
          const at = (what: string[], kind: string) => found.push(...what.map((w) => `${room.name}: ${kind}: ${w}`))
          await visit(page, fill(room.hash))
          if (pictures) await page.screenshot({ path: `${pictures}${room.name}-${theme}-${size.width}.png` })
          at(await page.locator('main [role=alert]').allInnerTexts(), 'failed')
          if (whole) at(await violations(page), 'axe')
          at(await cut(page), 'cut')
          at(await small(page), 'too small')
          // What a navigation brings is no shift; what comes after it has settled is.
          await shifts(page)
          await settled(page)
          const moved = await shifts(page)
          if (moved.sum > 0.02) at(moved.what, `moved ${moved.sum.toFixed(3)}`)
        }
        expect([...found, ...wrong]).toEqual([])
        await ctx.close()
      }, 900_000)
})
