import type { BrowserContext, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { closeBrowser, context, troubles } from '../driver/browser.ts'
import { Demo } from '../driver/demo.ts'
import { Keyboard } from '../driver/keyboard.ts'

// A stranger's three walks from the first screen on, each by mouse and once more by keyboard alone. No address is typed:
// the first one is what the program prints, or opens by itself.

const orders = 200_000

/** An instance with nothing in it, and a person before it. */
class Stranger {
  readonly served = new Demo('empty')
  page!: Page
  keys!: Keyboard
  wrong: string[] = []
  #ctx: BrowserContext | undefined

  async arrive(): Promise<void> {
    await this.served.start()
    this.#ctx = await context({ motion: 'reduce' })
    this.#ctx.setDefaultTimeout(60_000)
    this.page = await this.#ctx.newPage()
    this.keys = new Keyboard(this.page)
    this.wrong = troubles(this.page, this.served.url)
    await this.page.goto(this.served.link)
    await this.page.getByRole('heading', { level: 1, name: 'Nothing is connected yet' }).waitFor()
  }

  async leave(): Promise<void> {
    await this.#ctx?.close()
    await this.served.stop()
  }

  async answer(words: RegExp): Promise<void> {
    const said = () => this.page.locator('main h1').first().innerText()
    await expect.poll(said, { timeout: 90_000, interval: 200 }).toMatch(words)
  }

  /** Places the orders, of which one is to be found, and waits until the warehouse has them. Returns that one's number. */
  async manyOrders(): Promise<string> {
    await this.served.sql(
      `INSERT INTO orders (customer_id, status, currency, total, exchange_rate, delivery)
       SELECT (SELECT min(id) FROM customers), 'placed', 'EUR', n, 1, '{}' FROM generate_series(1, ${orders}) n`,
    )
    await this.served.freshet('wait', '--sink', 'warehouse', '--caught-up', '--timeout', '120s')
    return this.served.sql('SELECT id FROM orders WHERE total = 123456.00')
  }

  /** The record that is open, by its partition and offset. */
  async opened(): Promise<void> {
    const [, offset = ''] = (new URLSearchParams(this.page.url().split('?')[1]).get('open') ?? '').split(':')
    expect(offset).toMatch(/^\d+$/)
    await this.page.getByRole('complementary').getByText(Number(offset).toLocaleString('en-US')).first().waitFor()
  }

  /** What a trace of the order says at its end. */
  async traced(id: string): Promise<void> {
    await this.answer(/reached .*warehouse/)
    await this.page.getByText('holds what the newest version says').waitFor()
    expect(await this.page.getByRole('row', { name: /^id/ }).innerText()).toContain(id)
    const total = this.page.getByRole('row', { name: /^total/ }).getByRole('cell')
    expect((await total.allInnerTexts()).at(-1)).toBe('123456.00')
  }

  /** Waits until the lag of the group is known for two minutes: what is brushed must be there. */
  async twoMinutes(group: string): Promise<void> {
    const held = () =>
      this.page.evaluate(async (g) => {
        const { points } = await (await fetch(`/api/history?metric=lag_seconds&cluster=embedded&group=${g}`)).json()
        return points.length ? (Date.parse(points.at(-1).at) - Date.parse(points[0].at)) / 1000 : 0
      }, group)
    await expect.poll(held, { timeout: 180_000, interval: 2000 }).toBeGreaterThan(130)
  }

  /** The wizard holds the range that was brushed. */
  async brushed(): Promise<void> {
    await this.page.waitForURL(/#\/replay\/new\?.*since=.*until=/)
    const q = new URLSearchParams(this.page.url().split('?')[1])
    const seconds = (Date.parse(q.get('until') ?? '') - Date.parse(q.get('since') ?? '')) / 1000
    expect(seconds).toBeGreaterThan(100)
    expect(seconds).toBeLessThan(140)
    expect(q.get('source')).toBe('embedded/shop.public.orders')
  }

  async reported(): Promise<void> {
    await this.page.getByText(/^Done: [\d,]+ records? written to warehouse/).waitFor()
    expect(await this.page.getByText('it balances').count()).toBe(2)
    await this.page.getByRole('button', { name: 'Save the report' }).waitFor()
  }

  async proved(): Promise<void> {
    await this.page.getByText('proved', { exact: true }).waitFor()
    await this.page.getByText('signature good').waitFor()
    expect(await this.page.locator('aside').innerText()).toContain('replay.execute')
  }
}

describe.skipIf(!Demo.built)('a stranger', () => {
  const mouse = new Stranger()
  const keyboard = new Stranger()

  // Both are there from the start: the lag that is brushed at the end needs two minutes behind it.
  beforeAll(async () => {
    await Promise.all([mouse.arrive(), keyboard.arrive()])
  }, 60_000)
  afterAll(async () => {
    await Promise.all([mouse.leave(), keyboard.leave()])
    await closeBrowser()
  })

  test('first run → demo → which hop is late → the record that is stuck', async () => {
    const { page } = mouse
    await page.getByRole('link', { name: /^Demo/ }).click()
    await page.getByRole('button', { name: 'Start the demo' }).click()
    const fault = page.getByRole('listitem').filter({ has: page.getByText('stopped consumer', { exact: true }) })
    await fault.getByRole('button', { name: 'Break it for 3 min…' }).click({ timeout: 180_000 })
    await fault.getByRole('button', { name: 'Break it for 3 min', exact: true }).click()
    await mouse.answer(/fulfilment/)
    await page.locator('[data-node="group:fulfilment"]').click()
    await page.getByRole('link', { name: /Read unread messages/ }).click()
    await mouse.opened()
  }, 360_000)

  test('the same by keyboard', async () => {
    const { page, keys } = keyboard
    await keys.tabTo(/^Demo/)
    await keys.press('Enter')
    await page.getByRole('button', { name: 'Start the demo' }).waitFor()
    await keys.tabTo(/^Start the demo/)
    await keys.press('Enter')
    const fault = page.getByRole('listitem').filter({ has: page.getByText('stopped consumer', { exact: true }) })
    await fault.waitFor({ timeout: 180_000 })
    await keys.onto(fault.getByRole('button', { name: 'Break it for 3 min…' }))
    await keys.press('Enter')
    await keys.onto(fault.getByRole('button', { name: 'Break it for 3 min', exact: true }))
    await keys.press('Enter')
    await fault.getByText('broken now').waitFor()
    await keyboard.answer(/fulfilment/)
    await keys.press('Escape', 'w')
    await page.getByRole('link', { name: /Read unread messages/ }).waitFor()
    await keys.tabTo(/Read unread messages/)
    await keys.press('Enter')
    await keyboard.opened()
  }, 360_000)

  test('one order by its number among 200,000 → its trace → what the warehouse holds', async () => {
    const { page } = mouse
    const id = await mouse.manyOrders()
    await page
      .getByRole('link', { name: /^Topics/ })
      .first()
      .click()
    await page.getByRole('link', { name: 'shop.public.orders', exact: true }).click()
    await mouse.answer(/newest first/)
    await page.getByLabel('Look for a key').fill(id)
    await page.keyboard.press('Enter')
    await mouse.answer(/^1 record matches/)
    await page.getByRole('row').filter({ hasText: id }).click()
    await page.getByRole('complementary').getByRole('link', { name: 'Trace this row' }).click()
    await mouse.traced(id)
  }, 240_000)

  test('by keyboard', async () => {
    const { page, keys } = keyboard
    const id = await keyboard.manyOrders()
    await keys.press('Escape', 'Control+k')
    await page.getByRole('combobox', { name: 'Find or do anything' }).waitFor()
    await keys.type('shop.public.orders')
    await page
      .getByRole('option', { name: /topic.*shop\.public\.orders|shop\.public\.orders.*topic/i })
      .first()
      .waitFor()
    await keys.press('Enter')
    await keyboard.answer(/newest first/)
    await keys.tabTo(/^Look for a key/, true)
    await keys.type(id)
    await keys.press('Enter')
    await keyboard.answer(/^1 record matches/)
    await keys.tabTo(/^Records/)
    await keys.press('j', 'Enter')
    await page.getByRole('link', { name: 'Trace this row' }).waitFor()
    await keys.tabTo(/^Trace this row/)
    await keys.press('Enter')
    await keyboard.traced(id)
  }, 240_000)

  test('two minutes brushed on a lag chart → plan → dry run → approve → job → report → its audit entry proved', async () => {
    const { page } = mouse
    await mouse.twoMinutes('fulfilment')
    await page
      .getByRole('link', { name: /^Groups/ })
      .first()
      .click()
    await page.getByRole('link', { name: 'fulfilment', exact: true }).click()
    await page.getByRole('button', { name: /^Last / }).click()
    await page.getByRole('radio', { name: 'Last 5 min', exact: true }).click()
    await page.getByRole('img', { name: /^Seconds of fulfilment, last 5 min/ }).waitFor()
    const box = await page.locator('.plot').first().boundingBox()
    const now = await page.evaluate(() => Number.parseFloat((document.querySelector('.heat .now') as HTMLElement).style.left))
    if (!box) throw new Error('no chart')
    const second = (now - 104) / 300
    await page.keyboard.down('Shift')
    await page.mouse.move(box.x + now - second * 125, box.y + 60)
    await page.mouse.down()
    await page.mouse.move(box.x + now - second * 5, box.y + 60, { steps: 6 })
    await page.mouse.up()
    await page.keyboard.up('Shift')
    await page.getByRole('menuitem', { name: 'Replay this range of orders…' }).click()
    await mouse.brushed()
    await page.getByRole('button', { name: 'Shape' }).click()
    await page.getByRole('button', { name: 'Sink', exact: true }).click()
    await page.getByRole('radio', { name: /warehouse/ }).check()
    await page.getByRole('button', { name: 'Freeze the plan and dry-run it' }).click()
    await mouse.answer(/^If this is approved and run, it writes [\d,]+ records? to warehouse/)
    await page.getByRole('button', { name: /^Approve [0-9a-f]{8}…$/ }).click()
    await page.getByRole('button', { name: /^Approve [0-9a-f]{8}$/ }).click()
    await page.getByRole('button', { name: /^Run [0-9a-f]{8}…$/ }).click()
    await page.getByRole('button', { name: /^Run [0-9a-f]{8}$/ }).click()
    await mouse.reported()
    await page
      .getByRole('link', { name: /^Entry \d+ and its proof$/ })
      .first()
      .click()
    await mouse.proved()
  }, 300_000)

  test('all of that by keyboard', async () => {
    const { page, keys } = keyboard
    await keyboard.twoMinutes('fulfilment')
    await keys.press('g', 'g')
    await page.getByRole('grid', { name: 'Consumer groups' }).waitFor()
    await keys.press('/')
    await keys.type('fulfilment')
    await page.getByText('1 group', { exact: true }).waitFor()
    await keys.press('Tab', 'j', 'Enter')
    await page.getByRole('complementary', { name: 'About fulfilment' }).waitFor()
    await keys.press('Enter')
    await keys.onto(page.getByRole('img', { name: /^Seconds of fulfilment, / }))
    await keys.press('End')
    const said = page.locator('output').first()
    const selected = async () => {
      const [h = 0, m = 0, s = 0, h2 = 0, m2 = 0, s2 = 0] =
        /selected (\d\d):(\d\d):(\d\d) to (\d\d):(\d\d):(\d\d)/
          .exec(await said.innerText())
          ?.slice(1)
          .map(Number) ?? []
      return ((h2 - h) * 3600 + (m2 - m) * 60 + s2 - s + 86_400) % 86_400
    }
    for (let i = 0; i < 200 && (await selected()) < 119; i++) await keys.press('Shift+ArrowLeft')
    await keys.press('Enter')
    await page.getByRole('menuitem', { name: 'Replay this range of orders…' }).waitFor()
    await keys.press('Enter')
    await keyboard.brushed()
    await page.getByRole('button', { name: 'Shape' }).waitFor()
    await keys.tabTo(/^Shape/)
    await keys.press('Enter')
    await page.getByRole('textbox', { name: 'Filter' }).waitFor()
    await keys.tabTo(/^Sink$/)
    await keys.press('Enter')
    await page.getByRole('radio', { name: /warehouse/ }).waitFor()
    await keys.tabTo(/warehouse/)
    await keys.press('Space', 'Enter')
    await keyboard.answer(/^If this is approved and run, it writes [\d,]+ records? to warehouse/)
    await keys.approveAndRun()
    await keyboard.reported()
    await keys.tabTo(/^Entry \d+ and its proof/)
    await keys.press('Enter')
    await keyboard.proved()
  }, 300_000)

  test('nothing went wrong on the way', () => {
    expect([...mouse.wrong, ...keyboard.wrong]).toEqual([])
  })
})
