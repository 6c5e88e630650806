import type { BrowserContext, CDPSession, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { closeBrowser, context } from '../driver/browser.ts'
import { Demo } from '../driver/demo.ts'

// Eight tabs for ten minutes: all live, one poll, flat memory. It takes as long as it says, so it runs with `make proof`.

const minutes = Number(process.env.PROOF_MINUTES ?? 0)

describe.skipIf(!Demo.built || !minutes)('eight tabs', () => {
  const demo = new Demo()
  let ctx: BrowserContext
  const polls = { now: 0, most: 0 }

  beforeAll(async () => {
    await demo.start()
    ctx = await context()
    const poll = (r: { url(): string }) => r.url().includes('/api/feed?after=')
    ctx.on('request', (r) => {
      if (poll(r)) polls.most = Math.max(polls.most, ++polls.now)
    })
    const done = (r: { url(): string }) => {
      if (poll(r)) polls.now--
    }
    ctx.on('requestfinished', done)
    ctx.on('requestfailed', done)
  }, 120_000)
  afterAll(async () => {
    await ctx?.close()
    await closeBrowser()
    await demo.stop()
  })

  test(
    `for ${minutes} minutes`,
    async () => {
      const places = ['#/', '#/freshness', '#/topics', '#/groups', '#/groups/analytics', '#/sources/shop', '#/sinks/warehouse', '#/audit']
      const tabs: { page: Page; cdp: CDPSession }[] = []
      for (const [i, place] of places.entries()) {
        const page = await ctx.newPage()
        await page.goto(i === 0 ? demo.link : `${demo.url}/${place}`)
        await page.locator('footer [title$="UTC"]').waitFor({ timeout: 60_000 })
        tabs.push({ page, cdp: await ctx.newCDPSession(page) })
      }
      const heap = async () => {
        let sum = 0
        for (const { cdp } of tabs) {
          await cdp.send('HeapProfiler.collectGarbage')
          sum += (await cdp.send('Runtime.getHeapUsage')).usedSize
        }
        return sum / 2 ** 20
      }
      const shown = (p: Page) => p.locator('footer [title$="UTC"]').getAttribute('title')
      const heaps: number[] = []
      let last = await Promise.all(tabs.map((t) => shown(t.page)))
      for (let m = 0; m < minutes; m++) {
        await tabs[0]?.page.waitForTimeout(60_000)
        heaps.push(await heap())
        const now = await Promise.all(tabs.map((t) => shown(t.page)))
        for (const [i, at] of now.entries()) expect(at, `${places[i]}, minute ${m + 1}`).not.toBe(last[i])
        last = now
      }
      console.log(`heap of eight tabs, MiB, minute by minute: ${heaps.map((h) => h.toFixed(1)).join(' ')}; polls at once: ${polls.most}`)
      expect(polls.most).toBe(1)
      // From the second minute on: what charts and lists hold for a range fills up to there.
      expect(heaps.at(-1) ?? 0).toBeLessThan((heaps[1] ?? 0) * 1.15)
    },
    (minutes + 5) * 60_000,
  )
})
