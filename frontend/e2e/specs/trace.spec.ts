import type { BrowserContext, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { violations } from '../driver/axe.ts'
import { closeBrowser, context, type Look, troubles } from '../driver/browser.ts'
import { Demo } from '../driver/demo.ts'
import { Failure, Mock } from '../driver/server.ts'
import { bigKey, type TraceOptions, traced } from '../driver/traces.ts'

afterAll(closeBrowser)

describe('a row, in states that cannot be had live', () => {
  let mock: Mock
  let ctx: BrowserContext
  let wrong: string[]
  beforeEach(() => {
    wrong = []
  })
  afterEach(async () => {
    await ctx.close()
    await mock.stop()
    expect(wrong).toEqual([])
  })

  async function open(answer: TraceOptions | Failure, look: Look = {}): Promise<Page> {
    mock = await new Mock('late').start()
    mock.says.set('GET /api/sources', { v: 1, kind: 'sources.list', items: Object.values(mock.world.sources) })
    mock.says.set('GET /api/trace', answer instanceof Failure ? answer : traced(answer))
    ctx = await context({ motion: 'reduce', ...look })
    const page = await ctx.newPage()
    wrong = troubles(page, mock.url)
    await page.goto(mock.link)
    await page.locator('[data-node]').first().waitFor()
    await page.keyboard.press('g')
    await page.keyboard.press('x')
    await page.getByRole('combobox', { name: 'Table or topic' }).selectOption('table:public.orders')
    await page.keyboard.type(bigKey)
    await page.keyboard.press('Enter')
    return page
  }
  const h1 = (page: Page) => page.locator('main h1').first()

  test('it is said where it got to, and every digit stands', async () => {
    const page = await open({ held: { state: 'held', row: `{"id":${bigKey},"status":"shipped","total":167.36}` } })
    await h1(page).getByText(`public.orders ${bigKey} reached fulfilment and warehouse within 1.2`).waitFor()
    const fields = page.getByRole('region', { name: 'Fields by version' })
    expect(await fields.getByRole('row', { name: /^id/ }).innerText()).toContain(bigKey)
    expect(await fields.getByRole('row', { name: /^total/ }).innerText()).toContain('167.36')
    expect(await fields.getByRole('row', { name: /^rate/ }).innerText()).toContain('0.10')
    expect(await fields.locator('tbody tr').first().innerText()).toContain('shipped')
    expect(page.url()).toContain(`key=${bigKey}`)
  })

  test('a sink that is behind is named with the version that it holds, and the row can be resent to it', async () => {
    const page = await open({ waits: true, held: { state: 'held', row: '{"status":"paid"}', differs: ['status'], behind: 1 } })
    await h1(page).getByText('warehouse still holds version 2 of 3').waitFor()
    await page.getByText('holds version 2: the newest version waits').first().waitFor()
    const href = await page.getByRole('link', { name: 'Replay into it…' }).getAttribute('href')
    const q = new URLSearchParams(href?.split('?')[1])
    expect([q.get('source'), q.get('offsets'), q.get('to')]).toEqual(['embedded/shop.public.orders', '0:4013500-4013503', 'warehouse'])
    const looks = () => page.evaluate(() => performance.getEntriesByType('resource').filter((r) => r.name.includes('/api/trace')).length)
    const before = await looks()
    await expect.poll(looks, { timeout: 10_000 }).toBeGreaterThan(before)
  })

  test('what only the sink gets wrong: other values, no row, a row that was deleted, and unknown', async () => {
    const page = await open({ held: { state: 'held', row: '{"status":"lost"}', differs: ['status'], missing: ['note'] } })
    await h1(page).getByText('warehouse holds another status').waitFor()
    await page.getByText('no column').waitFor()
    const again = async (o: TraceOptions) => {
      mock.says.set('GET /api/trace', traced(o))
      await page.keyboard.press('.')
    }
    await page.locator('h1').click()
    await again({ held: { state: 'absent' } })
    await h1(page).getByText('warehouse does not hold it').waitFor()
    await again({ ops: 'cud', held: { state: 'held', row: '{"status":"paid"}' } })
    await h1(page).getByText('warehouse still holds it').waitFor()
    await again({ held: { state: 'unknown', why: 'PostgreSQL refused (SQLSTATE 55000)' } })
    await page.getByText('PostgreSQL refused (SQLSTATE 55000)').waitFor()
  })

  test('as of: by keyboard through every moment, in words and in the address', async () => {
    const page = await open({ held: { state: 'held', row: '{"status":"shipped"}' } })
    const slider = page.getByRole('slider', { name: 'As of' })
    await slider.focus()
    await page.keyboard.press('Home')
    expect(await slider.getAttribute('aria-valuetext')).toContain('Committed version 1')
    expect(await slider.getAttribute('aria-valuetext')).toContain('warehouse nothing yet')
    expect(page.url()).toContain('at=')
    for (let i = 0; i < 3; i++) await page.keyboard.press('ArrowRight')
    await expect.poll(() => slider.getAttribute('aria-valuetext')).toContain('warehouse version 1')
    await page.getByText('by its position').waitFor()
    await page.keyboard.press('End')
    await expect.poll(() => page.url()).not.toContain('at=')
  })

  test('a version is chosen, and a link brings it back', async () => {
    const page = await open({ ops: 'cuuuuuuu' })
    await page.getByRole('combobox', { name: 'Version' }).selectOption('0:4013501')
    await page.getByText('partition 0, offset 4,013,501').waitFor()
    await page.reload()
    await page.getByText('partition 0, offset 4,013,501').waitFor()
    expect(await page.getByRole('link', { name: 'shop.public.orders' }).first().getAttribute('href')).toContain('open=0%3A4013501')
  })

  test('nothing found in a part says how much, and how to look further', async () => {
    const page = await open({ ops: '', stopped: 'time' })
    await page.getByText('in what was looked at, which is not all').waitFor()
    expect(await page.getByRole('link', { name: /whole topic in Messages/ }).getAttribute('href')).toContain(`key=${bigKey}`)
  })

  test('200 versions and hostile names stay text, and in their places', async () => {
    const evil = `<img src=x onerror=alert(1)>\u202e${'long.'.repeat(60)}`
    const page = await open({
      ops: `c${'u'.repeat(199)}`,
      evil,
      row: (i) => JSON.stringify({ id: i, [evil]: evil }),
      held: { state: 'held', row: JSON.stringify({ [evil]: evil }), differs: [evil] },
    })
    await page.getByText('the newest 200; older ones are in Messages').waitFor()
    expect(await page.locator('main img').count()).toBe(0)
    expect(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth)).toBe(true)
    expect(await violations(page)).toEqual([])
  })

  test('a failure says what, why and what next', async () => {
    const page = await open(new Failure(404, 'no source captures such a table', '`freshet sources status NAME` lists the tables'))
    await page.getByRole('alert').getByText('no source captures such a table').waitFor()
    await page.getByRole('alert').getByText('lists the tables').waitFor()
  })

  test.each(['light', 'dark'] as const)('axe, %s', async (theme) => {
    const page = await open({ waits: true, held: { state: 'held', row: '{"status":"paid"}', differs: ['status'], behind: 1 } }, { theme })
    await page.getByText('Who held which version').waitFor()
    expect(await violations(page)).toEqual([])
    await page.setViewportSize({ width: 1024, height: 700 })
    expect(await violations(page)).toEqual([])
  })

  test('what was asked for is in this tab alone', async () => {
    const page = await open({})
    await page.getByText('Who held which version').waitFor()
    await page.getByRole('button', { name: 'Recent' }).click()
    await page.getByRole('menuitem', { name: bigKey }).waitFor()
    expect(await page.evaluate(() => JSON.stringify({ ...localStorage }))).not.toContain(bigKey)
  })
})

describe.skipIf(!Demo.built)('a row of the real demo', () => {
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
    await page.locator('[data-node="sink:warehouse"]').waitFor({ timeout: 60_000 })
    await demo.freshet('wait', '--sink', 'warehouse', '--caught-up')
  }, 180_000)
  afterAll(async () => {
    await ctx?.close()
    await demo.stop()
  })

  test('what does the warehouse hold of one order?', async () => {
    const read = JSON.parse(await demo.freshet('topics', 'read', 'shop.public.orders', '--from', 'newest', '--limit', '1', '-o', 'json'))
    const key = /\d+/.exec(read.items[0].key.text)?.[0] ?? ''
    await page.getByRole('link', { name: /^Trace/ }).click()
    await page.getByRole('combobox', { name: 'Table or topic' }).selectOption('table:public.orders')
    await page.getByRole('searchbox', { name: /Key of the row/ }).fill(key)
    await page.keyboard.press('Enter')
    await page
      .locator('h1')
      .getByText(/reached .*warehouse/)
      .waitFor({ timeout: 60_000 })
    await page.getByText('holds what the newest version says').waitFor()
    expect(await page.getByRole('row', { name: /^id/ }).innerText()).toContain(key)
    // The record has its decimals as bytes; what is shown are the digits, the same as in the sink.
    const cells = await page
      .getByRole('row', { name: /^total/ })
      .getByRole('cell')
      .allInnerTexts()
    expect(cells.at(-1)).toMatch(/^\d+\.\d+$/)
    expect(Number(cells.at(-2)?.replace(/^\W+/, ''))).toBe(Number(cells.at(-1)))
    expect(await violations(page)).toEqual([])
  }, 90_000)

  test('while the sink is out, the row waits there; when it is back, it is there by itself', async () => {
    await demo.freshet('demo', 'fault', 'start', 'sink-outage', '--for', '300s')
    const state = () =>
      page.evaluate(async () => (await (await fetch('/api/map')).json()).nodes.find((n: { id: string }) => n.id === 'sink:warehouse').state)
    await expect.poll(state, { timeout: 60_000, interval: 1000 }).toMatch(/late|dead|at_risk/)
    const newest = async () => {
      const read = JSON.parse(await demo.freshet('topics', 'read', 'shop.public.orders', '--from', 'newest', '--limit', '1', '-o', 'json'))
      return /\d+/.exec(read.items[0].key.text)?.[0] ?? ''
    }
    const input = page.getByRole('searchbox', { name: /Key of the row/ })
    await expect
      .poll(
        async () => {
          await input.fill(await newest())
          await input.press('Enter')
          await page
            .locator('h1')
            .getByText(/reached|nobody|not got/)
            .waitFor()
          return page.locator('h1').innerText()
        },
        { timeout: 60_000, interval: 2000 },
      )
      .toMatch(/warehouse has not got it yet|nobody has it yet/)
    await demo.freshet('demo', 'fault', 'stop', '--all')
    await page
      .locator('h1')
      .getByText(/reached .*warehouse/)
      .waitFor({ timeout: 120_000 })
  }, 240_000)

  test('a decimal is in the same digits among the records', async () => {
    await page.evaluate(() => {
      location.hash = '#/topics/shop.public.orders/messages?cols=after.total'
    })
    await page
      .getByRole('gridcell', { name: /^\d+\.\d\d$/ })
      .first()
      .click()
    const total = page.getByRole('complementary', { name: /orders/ }).getByRole('button', { name: /^total/ })
    await total.click()
    expect(await total.innerText()).toMatch(/^total\s+\d+\.\d\d\s+decimal$/)
    await page.getByText(/in the record "[A-Za-z0-9+/]+=*"/).waitFor()
  })

  test('nothing went wrong on the way', () => {
    expect(wrong).toEqual([])
  })
})
