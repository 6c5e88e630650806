import type { BrowserContext, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { violations } from '../driver/axe.ts'
import { closeBrowser, context, type Look, troubles } from '../driver/browser.ts'
import { Demo } from '../driver/demo.ts'
import type { Scenario } from '../driver/scenarios.ts'
import { Mock } from '../driver/server.ts'

// Which group is behind, by how much, is it getting better; and what to do about it.

afterAll(closeBrowser)

const first = (page: Page) => page.locator('main h1').innerText()

describe('recorded groups', () => {
  let mock: Mock
  let ctx: BrowserContext
  let wrong: string[] = []
  afterEach(async () => {
    expect(wrong).toEqual([])
    await ctx.close()
    await mock.stop()
  })

  async function open(scenario: Scenario, look: Look = {}): Promise<Page> {
    mock = await new Mock(scenario).start()
    ctx = await context({ motion: 'reduce', ...look })
    const page = await ctx.newPage()
    wrong = troubles(page, mock.url)
    await page.goto(mock.link)
    await page.locator('[data-node]').first().waitFor()
    await page.keyboard.press('g')
    await page.keyboard.press('g')
    await page.getByRole('grid', { name: 'Consumer groups' }).waitFor()
    return page
  }

  async function openOne(scenario: Scenario, look: Look = {}): Promise<Page> {
    const page = await open(scenario, look)
    await page.getByRole('link', { name: 'fulfilment', exact: true }).click()
    await page.locator('.plot canvas').nth(2).waitFor()
    await page.getByRole('grid', { name: 'Seconds behind by partition and time' }).waitFor()
    return page
  }

  test('the first line says which group is behind, and the list says the rest', async () => {
    const page = await open('behind')
    expect(await first(page)).toBe('fulfilment is 42 s behind and catching up: done in about 3 min. 2 keep up, 1 unknown.')
    const rows = page.getByRole('row').filter({ has: page.getByRole('link') })
    expect(await rows.first().innerText()).toContain('fulfilment')
    expect(await rows.filter({ hasText: 'fraud-shadow' }).innerText()).toContain('unknown')
    await page.getByRole('radio', { name: 'Unknown 1' }).click()
    expect(await rows.count()).toBe(1)
    expect(page.url()).toContain('kind=unknown')
    await page.goBack()
    await page.getByRole('radio', { name: 'All 4' }).and(page.locator('[aria-checked=true]')).waitFor()
    await page.keyboard.press('/')
    await page.keyboard.type('payments analy')
    await page.getByText('1 group', { exact: true }).waitFor()
    await page.keyboard.press('Escape')
  })

  test('Enter shows a group beside the list, and again opens it; Esc goes back to the row', async () => {
    const page = await open('behind')
    await page.keyboard.press('j')
    await page.keyboard.press('Enter')
    await page.getByRole('complementary', { name: 'About fulfilment' }).waitFor()
    await page.keyboard.press('Escape')
    await page.getByRole('complementary').waitFor({ state: 'detached' })
    await page.keyboard.press('Enter')
    await page.getByRole('complementary', { name: 'About fulfilment' }).waitFor()
    await page.keyboard.press('Enter')
    await page.getByText('By partition', { exact: true }).first().waitFor()
    expect(await first(page)).toMatch(/^fulfilment is 42 s behind on orders and catching up: done at about \d\d:\d\d:\d\d\.$/)
  })

  test('five thousand groups stay few rows', async () => {
    const page = await open('many')
    const grid = page.getByRole('grid', { name: 'Consumer groups' })
    expect(await grid.getAttribute('aria-rowcount')).toBe('5004')
    await grid.focus()
    await page.keyboard.press('End')
    await expect.poll(() => grid.locator('.row').count()).toBeLessThan(80)
    await page.keyboard.press('/')
    await page.keyboard.type('worker-04777')
    await page.getByText('1 group', { exact: true }).waitFor()
    await page.getByRole('link', { name: 'team-46.worker-04777' }).waitFor()
  })

  test('drag zooms, Back and double click go back', async () => {
    const page = await openOne('behind')
    await drag(page, 0.4, 0.6)
    await expect.poll(() => page.url()).toMatch(/range=20\d\d/)
    await page.goBack()
    expect(page.url()).not.toContain('range=')
    await drag(page, 0.4, 0.6)
    await expect.poll(() => page.url()).toMatch(/range=20\d\d/)
    await page.locator('.plot').first().dblclick()
    await expect.poll(() => page.url()).not.toContain('range=')
  })

  test('a crosshair runs over every chart and the heat map, and is read out', async () => {
    const page = await openOne('behind')
    const plot = page.locator('.plot').first()
    await plot.focus()
    await page.keyboard.press('ArrowLeft')
    await page.keyboard.press('ArrowLeft')
    expect(await page.locator('.over > .cross').count()).toBe(4)
    expect(await page.locator('output').first().innerText()).toMatch(
      /^\d\d:\d\d:\d\d: behind \d.* s.*; waiting .* rec.*; out .* rec\/s; in .* rec\/s$/,
    )
    const heat = page.getByRole('grid', { name: 'Seconds behind by partition and time' })
    await page.getByRole('radio', { name: 'orders', exact: true }).click()
    await page.getByText('orders, 12;').waitFor()
    await heat.focus()
    await page.keyboard.press('ArrowDown')
    expect(await heat.getByRole('gridcell').innerText()).toMatch(
      /partition 1, fulfilment-1, \d\d:\d\d:\d\d to \d\d:\d\d:\d\d: .* s, over the objective/,
    )
    expect(await page.locator('.over > .cross').count()).toBe(4)
  })

  test('t shows every reading as a table', async () => {
    const page = await openOne('behind')
    await page.keyboard.press('t')
    const table = page.getByRole('region', { name: 'Lag and rates, as a table' })
    expect(await table.locator('tbody tr').count()).toBeGreaterThan(300)
    expect(page.url()).toContain('view=table')
  })

  test('a reset says what moves, needs its name in production, and can be put back', async () => {
    const page = await openOne('production')
    await page.getByRole('button', { name: 'Reset offsets…' }).click()
    const dialog = page.getByRole('dialog')
    await dialog.getByText('3 members read as this group now').waitFor()
    await dialog.getByRole('button', { name: 'See what would move' }).click()
    await dialog.getByText('Nothing has been moved yet.').waitFor()
    expect(await dialog.getByRole('region', { name: 'What would move' }).locator('p').first().innerText()).toMatch(
      /^Moves 12 partitions of fulfilment back by [\d,]+ records, which will be read again\./,
    )
    expect(await dialog.getByRole('button', { name: 'Move the offsets' }).isDisabled()).toBe(true)
    expect(await violations(page)).toEqual([])
    // Its members stop.
    for (const g of Object.values(mock.world.groups)) Object.assign(g, { members: 0, member_list: [], state: 'Empty' })
    await dialog.getByLabel(/^This is production/).fill('fulfilmen', { timeout: 20_000 })
    expect(await dialog.getByRole('button', { name: 'Move the offsets' }).isDisabled()).toBe(true)
    await dialog.getByLabel(/^This is production/).fill('fulfilment')
    await dialog.getByRole('button', { name: 'Move the offsets' }).click()
    await dialog.getByText('Audit entry').waitFor()
    await dialog.getByRole('button', { name: 'Restore the offsets it had' }).click()
    await dialog.getByText('Put back.').waitFor()
    const last = mock.acts.at(-1)?.body as { offsets: string[]; apply: boolean }
    expect(last.apply).toBe(true)
    expect(last.offsets[0]).toBe('0:9007199254740993')
  })

  test('what was committed opens as a record, its offset beyond what a float holds', async () => {
    const page = await openOne('behind')
    const link = page.getByRole('grid', { name: 'Partitions of fulfilment' }).getByRole('link').first()
    expect(await link.getAttribute('href')).toBe('#/topics/shop.public.orders/messages?from=0%3A9007199254740993&open=0%3A9007199254740993')
  })

  test('hostile names stay text', async () => {
    const page = await open('hostile')
    await page.locator('a[href*="img"]').first().click()
    await page.getByRole('button', { name: 'Reset offsets…' }).waitFor()
    expect(await page.locator('main img, main script').count()).toBe(0)
    expect(await first(page)).toContain('<img')
  })

  describe.each(['light', 'dark'] as const)('axe, %s', (theme) => {
    test.each(['behind', 'unknown', 'hostile'] as const)('the list, %s', async (scenario) => {
      const page = await open(scenario, { theme })
      expect(await violations(page)).toEqual([])
      await page.getByRole('row').nth(1).click()
      await page.getByRole('complementary').waitFor()
      expect(await violations(page)).toEqual([])
    })
    test('one group, with the menu of a range, in a narrow window', async () => {
      const page = await openOne('behind', { theme, width: 1024, height: 700 })
      expect(await violations(page)).toEqual([])
      await drag(page, 0.4, 0.5, true)
      await page.getByRole('menu').waitFor()
      expect(await violations(page)).toEqual([])
    })
  })
})

/** Drags over part of the first chart. */
async function drag(page: Page, from: number, to: number, shift = false): Promise<void> {
  const box = await page.locator('.plot').first().boundingBox()
  if (!box) throw new Error('no chart')
  const x = (f: number) => box.x + 104 + (box.width - 104) * f
  if (shift) await page.keyboard.down('Shift')
  await page.mouse.move(x(from), box.y + 60)
  await page.mouse.down()
  await page.mouse.move(x(to), box.y + 60, { steps: 5 })
  await page.mouse.up()
  if (shift) await page.keyboard.up('Shift')
}

describe.skipIf(!Demo.built)('groups and freshness of the demo', () => {
  const demo = new Demo()
  let ctx: BrowserContext
  let page: Page
  let wrong: string[] = []

  beforeAll(async () => {
    await demo.start()
    ctx = await context()
    page = await ctx.newPage()
    wrong = troubles(page, demo.url)
    await page.goto(demo.link)
    await page.locator('[data-node="group:analytics"]').waitFor({ timeout: 90_000 })
    await demo.freshet('demo', 'fault', 'start', 'slow-consumer')
  }, 200_000)
  afterAll(async () => {
    await ctx?.close()
    await demo.stop()
  })

  const get = (path: string) => page.evaluate(async (p) => (await fetch(`/api${p}`)).json(), path)
  test('the group that a slow consumer holds back is named, and its lag is drawn', async () => {
    const late = async () => (await get('/groups/analytics')).item.lag.seconds.value as number
    await expect.poll(late, { timeout: 120_000, interval: 1000 }).toBeGreaterThan(20)
    await page.getByRole('link', { name: 'Groups' }).click()
    await expect.poll(() => first(page), { timeout: 60_000 }).toMatch(/analytics/)
    await page.getByRole('link', { name: 'analytics', exact: true }).click()
    await page.getByRole('img', { name: /^Seconds of analytics, / }).waitFor()
    await page.getByRole('grid', { name: 'Seconds behind by partition and time' }).waitFor()
    expect(await first(page)).toMatch(/^analytics (is|keeps up: ).* behind/)
  }, 240_000)

  test('Freshness names the path, its hop and its share of time inside', async () => {
    await page.keyboard.press('g')
    await page.keyboard.press('f')
    const row = page.getByRole('row').filter({ hasText: 'order_lines → analytics' })
    await row.waitFor()
    await expect.poll(() => row.innerText()).toContain('Waiting for analytics')
    await row.locator('svg.strip').waitFor({ timeout: 30_000 })
    await row.getByRole('link').click()
    const side = page.getByRole('complementary', { name: 'About order_lines → analytics' })
    await side.getByRole('img', { name: /^order_lines → analytics, .*peak/ }).waitFor()
    await side.getByText(/of what was read, by \d+ readings/).waitFor()
    await side.getByRole('link', { name: 'Trace of the newest record' }).waitFor()
    expect(await first(page)).toMatch(/objectives? (is|are) (missed|met)|Objectives/i)
  }, 90_000)

  test('nothing went wrong on the way', () => {
    expect(wrong).toEqual([])
  })
})
