import type { BrowserContext } from 'playwright-core'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { violations } from '../driver/axe.ts'
import { closeBrowser, context } from '../driver/browser.ts'
import type { Scenario } from '../driver/scenarios.ts'
import { Mock } from '../driver/server.ts'

// WCAG 2.2 AA as far as a machine can tell, in every state and both themes.

let mock: Mock
let ctx: BrowserContext
afterAll(closeBrowser)
afterEach(async () => {
  await ctx.close()
  await mock.stop()
})

const views: { name: string; scenario: Scenario; hash?: string; width?: number; height?: number; press?: string }[] = [
  { name: 'late', scenario: 'late' },
  { name: 'a path', scenario: 'late', hash: '#/?sel=path:public.orders>shop.public.orders>sink:warehouse' },
  { name: 'a group', scenario: 'late', hash: '#/?sel=group:analytics' },
  { name: 'a source', scenario: 'late', hash: '#/?sel=source:shop' },
  { name: 'a topic', scenario: 'late', hash: '#/?sel=topic:shop.public.orders' },
  { name: 'a sink in a narrow window', scenario: 'production', hash: '#/?sel=sink:warehouse', width: 1024, height: 700 },
  { name: 'an edge', scenario: 'late', hash: '#/?sel=edge:topic:shop.public.orders>sink:warehouse' },
  { name: 'unknown', scenario: 'unknown' },
  { name: 'dead', scenario: 'dead' },
  { name: 'empty', scenario: 'empty' },
  { name: 'huge', scenario: 'huge' },
  { name: 'the table', scenario: 'late', hash: '#/?view=table' },
  { name: 'keys', scenario: 'late', press: '?' },
]

describe.each(['light', 'dark'] as const)('axe, %s', (theme) => {
  test.each(views)('$name', async (v) => {
    mock = await new Mock(v.scenario).start()
    ctx = await context({ theme, motion: 'reduce', ...(v.width ? { width: v.width } : {}), ...(v.height ? { height: v.height } : {}) })
    const page = await ctx.newPage()
    await page.goto(mock.link)
    await page.locator('[data-node], pre, code').first().waitFor()
    if (v.hash) {
      await page.evaluate((h) => {
        location.hash = h
      }, v.hash)
    }
    if (v.press) await page.keyboard.press(v.press)
    await page.waitForTimeout(500)
    expect(await violations(page)).toEqual([])
  })

  test('signed out', async () => {
    mock = await new Mock('late').start()
    ctx = await context({ theme })
    const page = await ctx.newPage()
    await page.goto(mock.url)
    await page.getByText('This link was used').waitFor()
    expect(await violations(page)).toEqual([])
  })
})
