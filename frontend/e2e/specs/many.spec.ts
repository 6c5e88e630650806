import type { BrowserContext, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { closeBrowser, context, troubles } from '../driver/browser.ts'
import { Demo } from '../driver/demo.ts'
import { Serve } from '../driver/serve.ts'

// Ten thousand topics of a real broker: how soon their list can be worked with. To make them takes minutes, so it runs
// with `make proof`.

const topics = 10_000

describe.skipIf(!Demo.built || process.env.FRESHET_PROOF === undefined)('ten thousand topics', () => {
  const serve = new Serve()
  let ctx: BrowserContext
  let page: Page
  let wrong: string[] = []

  beforeAll(async () => {
    await serve.start()
    ctx = await context()
    page = await ctx.newPage()
    wrong = troubles(page, serve.url)
    await page.goto(await serve.link())
    await page.locator('main h1').first().waitFor({ state: 'attached' })
    await page.evaluate(async (n) => {
      let next = 0
      const make = async () => {
        for (let i = next++; i < n; i = next++) {
          const r = await fetch('/api/topics', {
            method: 'POST',
            headers: { 'X-Freshet': '1', 'Content-Type': 'application/json' },
            body: JSON.stringify({ topic: `stream-${`${i}`.padStart(5, '0')}`, partitions: 1 }),
          })
          if (!r.ok) throw new Error(await r.text())
        }
      }
      await Promise.all(Array.from({ length: 5 }, make))
    }, topics)
    // Until the probe has seen all of them; waitForFunction takes a promise for an answer.
    const seen = () => page.evaluate(async () => (await (await fetch('/api/topic-rows')).json()).items.length as number)
    while ((await seen()) < topics) await page.waitForTimeout(500)
  }, 1_200_000)
  afterAll(async () => {
    await ctx?.close()
    await closeBrowser()
    await serve.stop()
  })

  /** Until a row is drawn and the filter has the keys, in ms since the beginning. */
  const workable = (tab: Page) =>
    tab.evaluate(
      () =>
        new Promise<number>((resolve) => {
          const look = () => {
            const rows = [...document.querySelectorAll('[role=grid] [role=row]')]
            if (rows.some((row) => row.textContent?.includes('stream-')) && document.querySelector('main input')) resolve(performance.now())
            else requestAnimationFrame(look)
          }
          look()
        }),
    )

  test('cold, in a new tab, and warm, from another screen', async () => {
    const colds: number[] = []
    const warms: number[] = []
    for (let i = 0; i < 5; i++) {
      const tab = await ctx.newPage()
      await tab.goto(`${serve.url}/#/topics`)
      colds.push(await workable(tab))
      await tab.keyboard.press('/')
      await tab.keyboard.type('stream-07777')
      await tab.getByText('1 of 10,000').waitFor()
      await tab.keyboard.press('Escape')
      await tab.keyboard.press('Escape')
      await tab.keyboard.press('g')
      await tab.keyboard.press('m')
      await tab.getByText('Nothing is connected yet.').waitFor()
      const began = await tab.evaluate(() => {
        const now = performance.now()
        location.hash = '#/topics'
        return now
      })
      warms.push((await workable(tab)) - began)
      await tab.close()
    }
    const median = (all: number[]) => [...all].sort((a, b) => a - b)[2] ?? 0
    const said = (all: number[]) => all.map((ms) => ms.toFixed(0)).join(', ')
    console.log(`10,000 topics: cold ${said(colds)} ms, warm ${said(warms)} ms`)
    expect(median(colds)).toBeLessThan(1500)
    expect(median(warms)).toBeLessThan(150)
  }, 120_000)

  test('nothing went wrong on the way', () => {
    expect(wrong).toEqual([])
  })
})
