import type { BrowserContext, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { violations } from '../driver/axe.ts'
import { closeBrowser, context, troubles } from '../driver/browser.ts'
import { Demo } from '../driver/demo.ts'

// Walks the real demo, breaks its sink and mends it again.

describe.skipIf(!Demo.built)('the live demo', () => {
  const demo = new Demo()
  let ctx: BrowserContext
  let page: Page
  let wrong: string[] = []
  /** Polls held by all tabs together: now, and the most at once. */
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
    page = await ctx.newPage()
    wrong = troubles(page, demo.url)
    await page.addInitScript(() => {
      document.addEventListener('securitypolicyviolation', (e) => console.error(`policy: ${e.violatedDirective} ${e.blockedURI}`))
    })
    await page.goto(demo.link)
    await page.locator('[data-node="sink:warehouse"]').waitFor({ timeout: 60_000 })
  }, 120_000)
  afterAll(async () => {
    await ctx?.close()
    await closeBrowser()
    await demo.stop()
  })

  const get = (path: string) => page.evaluate(async (p) => (await fetch(`/api${p}`)).json(), path)

  test('the link is used up, and shows the shop from its tables to its sinks', async () => {
    expect(page.url()).not.toContain('login')
    await page.locator('[data-node="source:shop"]').waitFor()
    await page.locator('[data-node="topic:shop.public.orders"]').waitFor()
    await page.getByText('orders → warehouse').first().waitFor()
    const other = await ctx.browser()?.newContext()
    const used = await other?.newPage()
    await used?.goto(demo.link)
    await used?.getByText('This link was used').waitFor()
    await other?.close()
  })

  test('it is live: what is shown is younger than 10 s, and goes on', async () => {
    const asOf = async () => Date.parse((await get('/map')).as_of)
    const first = await asOf()
    expect(Date.now() - first).toBeLessThan(10_000)
    await expect.poll(asOf, { timeout: 15_000 }).toBeGreaterThan(first)
    await page.getByRole('button', { name: /Live data: *Live/ }).waitFor()
  })

  test('pausing and resuming the sink is audited, with the number that the page shows', async () => {
    await page.locator('[data-node="sink:warehouse"]').click()
    for (const [verb, action] of [
      ['Pause', 'sink.pause'],
      ['Resume', 'sink.resume'],
    ] as const) {
      await page.getByRole('button', { name: `${verb} warehouse…` }).click({ timeout: 30_000 })
      await page.getByLabel('Why, for the audit').fill(`the page's own test`)
      await page.getByRole('button', { name: `${verb} warehouse`, exact: true }).click()
      const seq = await page.locator('[role=status] b.mono').innerText({ timeout: 30_000 })
      const { items } = (await get('/audit?limit=50')) as { items: { seq: string; action: string; subject: string; phase: string }[] }
      expect(items.find((e) => e.seq === seq)).toMatchObject({ action, subject: 'warehouse', phase: 'result' })
    }
    await page.keyboard.press('Escape')
  }, 120_000)

  test('a broken sink appears as late, with its reason, and heals', async () => {
    const fault = page.locator('li').filter({ hasText: 'sink outage' })
    await fault.getByRole('button', { name: 'Break it for 3 min…' }).click()
    await fault.getByRole('button', { name: 'Break it for 3 min', exact: true }).click()
    await fault.getByText('broken now').waitFor()
    const state = async () => (await get('/map')).nodes.find((n: { id: string }) => n.id === 'sink:warehouse').state as string
    await expect.poll(state, { timeout: 60_000, interval: 1000 }).toMatch(/late|dead|at_risk/)
    await page
      .locator('[data-node="sink:warehouse"].late, [data-node="sink:warehouse"].dead, [data-node="sink:warehouse"].at_risk')
      .waitFor()
    await fault.getByRole('button', { name: 'Mend it…' }).click()
    await fault.getByRole('button', { name: 'Mend it', exact: true }).click()
    await expect.poll(state, { timeout: 120_000, interval: 1000 }).toMatch(/on_time|idle/)
  }, 240_000)

  test('the sheet of every lane opens without an error', async () => {
    for (const id of ['source:shop', 'topic:shop.public.orders', 'group:analytics', 'sink:warehouse']) {
      await page.locator(`[data-node="${id}"]`).click()
      await page.locator('aside').getByText('The same in a terminal').waitFor()
      await page.locator('aside [aria-busy=true]').waitFor({ state: 'detached' })
      expect(await page.locator('aside [role=alert]').allInnerTexts(), id).toEqual([])
      await page.keyboard.press('Escape')
    }
  })

  test('axe finds nothing', async () => {
    expect(await violations(page)).toEqual([])
  })

  test('eight tabs stay live with one poll', async () => {
    polls.most = polls.now
    const tabs = [page]
    for (let i = 0; i < 7; i++) {
      const tab = await ctx.newPage()
      await tab.goto(`${demo.url}/#/`)
      tabs.push(tab)
    }
    const shown = (t: Page) => t.locator('footer [title$="UTC"]').innerText()
    for (const t of tabs) await t.locator('[data-node="source:shop"]').waitFor()
    const before = await Promise.all(tabs.map(shown))
    for (const [i, t] of tabs.entries()) await expect.poll(() => shown(t), { timeout: 20_000 }).not.toBe(before[i])
    expect(polls.most).toBe(1)
    expect(await demo.freshet('status')).toContain('local broker')
  }, 120_000)

  test('nothing went wrong on the way', () => {
    expect(wrong).toEqual([])
  })
})
