import type { BrowserContext, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { closeBrowser, context } from '../driver/browser.ts'
import { Demo } from '../driver/demo.ts'
import { visit } from '../driver/rooms.ts'

// The server goes away and comes back under every screen: each says so, keeps what it had, and goes on by itself.

const places = [
  '#/',
  '#/freshness',
  '#/topics',
  '#/groups/analytics',
  '#/sources/shop',
  '#/sinks/warehouse',
  '#/replay',
  '#/audit',
  '#/settings',
]

describe.skipIf(!Demo.built)('a server that is stopped and started', () => {
  const demo = new Demo()
  let ctx: BrowserContext
  const tabs: Page[] = []

  beforeAll(async () => {
    await demo.start()
    ctx = await context()
    const first = await ctx.newPage()
    await first.goto(demo.link)
    await first.locator('[data-node="sink:warehouse"]').waitFor({ timeout: 60_000 })
    for (const [i, place] of places.entries()) {
      const tab = i === 0 ? first : await ctx.newPage()
      if (i > 0) await tab.goto(`${demo.url}/#/`)
      await tab.locator('footer [title$="UTC"]').waitFor()
      await visit(tab, place)
      tabs.push(tab)
    }
  }, 240_000)
  afterAll(async () => {
    await ctx?.close()
    await closeBrowser()
    await demo.stop()
  })

  test('every screen says so, keeps what it had, and recovers', async () => {
    const words = (t: Page) => t.locator('main h1').first().innerText()
    const before = await Promise.all(tabs.map(words))
    const read = (t: Page) => t.locator('footer [title$="UTC"]').getAttribute('title')

    await demo.down()
    for (const [i, t] of tabs.entries()) {
      await t.getByText(/What is shown is .* old/).waitFor({ timeout: 60_000 })
      expect(await words(t), places[i]).not.toBe('')
      expect((await words(t)).length, `${places[i]} kept its answer: ${before[i]}`).toBeGreaterThan(10)
    }
    const held = await Promise.all(tabs.map(read))

    await demo.up()
    for (const [i, t] of tabs.entries()) {
      await t.getByText(/What is shown is .* old/).waitFor({ state: 'detached', timeout: 90_000 })
      await expect.poll(() => read(t), { timeout: 60_000, message: `${places[i]} goes on` }).not.toBe(held[i])
      await expect
        .poll(() => t.locator('main [role=alert]').allInnerTexts(), { timeout: 20_000, message: `${places[i]} has no failure left` })
        .toEqual([])
    }
  }, 300_000)
})
