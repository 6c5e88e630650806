import { readFileSync } from 'node:fs'
import type { BrowserContext, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { violations } from '../driver/axe.ts'
import { closeBrowser, context, troubles } from '../driver/browser.ts'
import { Demo } from '../driver/demo.ts'
import { settled, visit } from '../driver/rooms.ts'
import { Serve } from '../driver/serve.ts'

// The records of a topic, as somebody who looks for one wants them.

const orders = 200_000

function* lines(): Generator<string> {
  const states = ['placed', 'paid', 'shipped']
  for (let i = 0; i < orders; i++) {
    const row = (status: string) => `{"id":${i},"status":"${status}","total":9007199254740993.10,"note":null}`
    const old = i % 2 ? 'null' : row(states[(i + 2) % 3] ?? '')
    yield `{"id":${i}}\t{"before":${old},"after":${row(states[i % 3] ?? '')},"source":{"ts_ms":1790000000000},"op":"${i % 2 ? 'c' : 'u'}"}`
  }
}

const odd: (string | Buffer)[] = [
  '{"id":1}\t{"id":1,"markup":"<img src=x onerror=alert(1)>","bidi":"a\\u202eb","big":9007199254740993,"deep":[[[{"x":1e400}]]],"id":2}',
  'gone\t',
  Buffer.concat([Buffer.from([0, 0xff, 0xfe]), Buffer.from('\t'), Buffer.from([0xde, 0xad, 0xbe, 0xef])]),
  `large\t{"text":"${'x'.repeat(900_000)}"}`,
  `\u202e${'long'.repeat(2500)}\tplain text that is no JSON`,
]

describe.skipIf(!Demo.built)('messages', () => {
  const serve = new Serve()
  let ctx: BrowserContext
  let page: Page
  let wrong: string[] = []

  beforeAll(async () => {
    await serve.start()
    await serve.produce('shop.orders', 4, lines())
    await serve.produce('odd', 1, odd, '-Z')
    await serve.produce('quiet', 1, [])
    ctx = await context()
    ctx.setDefaultTimeout(30_000)
    page = await ctx.newPage()
    wrong = troubles(page, serve.url)
    await page.goto(await serve.link())
    await page.locator('main h1').first().waitFor({ state: 'attached' })
  }, 180_000)
  afterAll(async () => {
    await ctx?.close()
    await closeBrowser()
    await serve.stop()
  })
  afterEach(() => {
    expect(wrong).toEqual([])
  })

  const answer = (words: RegExp) => page.getByRole('heading', { level: 1, name: words }).waitFor()
  const rowCount = async () => Number(await page.getByRole('grid').getAttribute('aria-rowcount')) - 1
  const open = async (name: string) => {
    await visit(page, `#/topics/${name}/messages`)
    await page.getByRole('grid').focus()
  }

  test('one order among 200,000 is found by its number, read, and traced', async () => {
    await page.keyboard.press('Control+k')
    await page.getByRole('combobox').fill('shop.orders')
    await page.getByRole('option').filter({ hasText: 'topic' }).first().click()
    await answer(/The newest 200 records of at most 200,000/)
    await page.getByLabel('Look for a key').fill('123456')
    await page.keyboard.press('Enter')
    await answer(/^1 record matches/)
    await page
      .getByText(/only partition \d of 4 was looked at/)
      .first()
      .waitFor()
    await page.getByRole('grid').focus()
    await page.keyboard.press('j')
    await page.keyboard.press('Enter')
    const drawer = page.getByRole('complementary', { name: /orders 123456/ })
    await drawer.getByText('9007199254740993.10').waitFor()
    await drawer.getByRole('tab', { name: /Diff/ }).click()
    await drawer.getByText('1 field of 4 differs').waitFor()
    expect(await violations(page)).toEqual([])
    await drawer.getByRole('link', { name: 'Trace this row' }).click()
    expect(decodeURIComponent(page.url())).toMatch(/#\/trace\?topic=shop\.orders&key=\{"id":123456\}/)
  })

  test('a key that is not where producers would put it is said to be looked for there alone', async () => {
    await open('shop.orders')
    await page.getByLabel('Look for a key').fill('999999999')
    await page.keyboard.press('Enter')
    await answer(/^No record matches/)
    await page.getByRole('button', { name: 'Look in all 4 partitions' }).click()
    await answer(/^No record matches.*all 200,000/)
  })

  test('conditions become an expression, what is not looked at is said, and it goes on', async () => {
    await open('shop.orders')
    await page.keyboard.press('/')
    await page.getByLabel('Field of condition 1').fill('value.after.status')
    await page.getByLabel('Operator of condition 1').selectOption('becomes')
    await page.getByLabel('Value of condition 1').fill('paid')
    await page.getByText(/keeps \d+ of the newest 100/).waitFor()
    await page.getByRole('button', { name: 'Look', exact: true }).click()
    await answer(/500 records match, so far: .* % of the range is looked at/)
    await page.getByText('stopped: enough found for now').waitFor()
    await page.getByRole('button', { name: /^Continue/ }).waitFor()
    expect(await violations(page)).toEqual([])
    await page.getByRole('grid').focus()
    await page.keyboard.press('c')
    await answer(/1,000 records match/)
    // An expression that no lines stand for stays one, and a wrong one says where.
    await page.getByRole('radio', { name: 'CEL' }).click()
    await page.getByLabel('Filter, in CEL').fill('value.op == "u" || true')
    await page.getByText('Of no shape that lines have').waitFor()
    await page.getByLabel('Filter, in CEL').fill('value.op == ')
    await page.getByText(/Line 1, column \d+/).waitFor()
    expect(await violations(page)).toEqual([])
    expect(decodeURIComponent(page.url()).replaceAll('+', ' ')).toContain(
      'filter=value.before.status != "paid" && value.after.status == "paid"',
    )
  })

  test('every offset is in reach: of all partitions one after the other, of one from either end', async () => {
    await open('shop.orders')
    await page.getByRole('radio', { name: 'Oldest' }).click()
    await answer(/At most 200,000 records in 4 partitions, one partition after the other/)
    expect(await rowCount()).toBe(orders)
    await page.getByRole('grid').focus()
    await page.keyboard.press('End')
    await expect.poll(() => page.getByRole('row').last().getByRole('gridcell').nth(1).innerText()).toBe('3')
    await page.getByRole('radio', { name: 'Offset' }).click()
    await page.getByLabel('Offset', { exact: true }).fill('20000')
    await page.keyboard.press('Enter')
    await page.getByRole('row', { name: '20,000' }).first().waitFor()
  })

  test('selected rows become a file and a replay of just these offsets', async () => {
    await open('shop.orders')
    await answer(/The newest/)
    await page.getByRole('grid').focus()
    for (const k of ['j', 'x', 'j', 'x']) await page.keyboard.press(k)
    await page.getByText('2 rows selected').waitFor()
    const [file] = await Promise.all([
      page.waitForEvent('download'),
      page
        .getByRole('button', { name: 'Export 2' })
        .click()
        .then(() => page.getByRole('menuitem', { name: /JSON lines/ }).click()),
    ])
    expect(
      readFileSync(await file.path(), 'utf8')
        .trim()
        .split('\n'),
    ).toHaveLength(2)
    await page.getByRole('button', { name: 'Replay 2…' }).click()
    expect(decodeURIComponent(page.url())).toMatch(/#\/replay\/new\?source=embedded\/shop\.orders&offsets=\d:\d+-\d+/)
  })

  test('what arrives shows at the top, and stands still while somebody looks', async () => {
    await open('shop.orders')
    await page.mouse.move(0, 0)
    await page.getByRole('radio', { name: 'Live' }).click()
    await page.getByText('Nothing has arrived yet').waitFor()
    await answer(/records a second arrive/)
    await serve.add('shop.orders', ['new1\t{"n":1}'])
    await page.getByRole('row').filter({ hasText: 'new1' }).waitFor()
    await page.getByRole('grid').hover()
    await page.getByText('It stands still while you look').waitFor()
    await serve.add('shop.orders', ['new2\t{"n":2}'])
    await page.getByRole('button', { name: '1 new record: show' }).waitFor()
    await page.mouse.move(0, 0)
    await page.getByRole('row').filter({ hasText: 'new2' }).waitFor()
  })

  test('markup, bidi, bytes, tombstones and a huge value are shown as they are', async () => {
    await open('odd')
    await answer(/At most 5 records/)
    const rows = page.getByRole('grid')
    await rows.getByText('deleted (null)').waitFor()
    await rows.getByText('0x00fffe (3 B)').waitFor()
    await rows.getByText('0xdeadbeef (4 B)').waitFor()
    await rows.getByText('<img src=x onerror=alert(1)>').first().waitFor()
    expect(await page.locator('main img, main script').count()).toBe(0)
    expect(await page.locator('body').innerText()).not.toContain('\u202e')
    await rows.getByText('9007199254740993').first().waitFor()
    for (const [key, words] of [
      ['large', /^"x+…"$/],
      ['gone', /a tombstone/],
      ['0x00fffe (3 B)', /4 B that are no text/],
    ] as const) {
      await rows.getByText(key, { exact: true }).click()
      await page.getByRole('complementary').getByText(words).first().waitFor()
      await settled(page)
      expect(await violations(page)).toEqual([])
    }
    await rows.getByText('large', { exact: true }).click()
    await page.getByRole('tab', { name: /Raw/ }).click()
    await page.getByRole('region', { name: 'Bytes of the value' }).waitFor()
    expect(await page.getByRole('region', { name: 'Bytes of the value' }).locator('.line').count()).toBeLessThan(60)
    await page.keyboard.press('Escape')
    await page.getByRole('complementary').waitFor({ state: 'detached' })
    expect(await page.evaluate(() => document.activeElement?.getAttribute('role'))).toBe('grid')
  })

  test('a topic without records says what would be here, and a link opens a record', async () => {
    await open('quiet')
    await page.getByText('What is written to it would be listed here').waitFor()
    expect(await violations(page)).toEqual([])
    await visit(page, '#/topics/odd/messages?open=0:1&from=0:1&show=position')
    await page.getByRole('complementary').getByText('CreateTime').waitFor()
    await visit(page, '#/topics/odd/messages?open=0:77')
    await page.getByText('partition 0 ends at 5, before 77').waitFor()
  })

  test('in the dark and in a small window', async () => {
    await page.setViewportSize({ width: 1024, height: 700 })
    await page.emulateMedia({ colorScheme: 'dark' })
    for (const hash of [
      '#/topics/shop.orders/messages?filter=value.op+%3D%3D+%22u%22',
      '#/topics/odd/messages?open=0:0',
      '#/topics/odd/messages?open=0:0&show=raw',
    ]) {
      await visit(page, hash)
      expect(await violations(page)).toEqual([])
    }
  })

  test('where the server fails, the panel says so, and tries again when it is told to', async () => {
    await page.route('**/api/topics/odd/records**', (r) =>
      r.fulfill({
        status: 503,
        json: { v: 1, kind: 'error', exit: 5, code: 'UNAVAILABLE', message: 'the broker does not answer', hint: 'see whether it runs' },
      }),
    )
    await open('odd')
    await page.keyboard.press('.')
    await page.getByRole('alert').getByText('the broker does not answer').first().waitFor()
    expect(await violations(page)).toEqual([])
    await page.unroute('**/api/topics/odd/records**')
    await page.getByRole('button', { name: 'Try again' }).first().click()
    await answer(/At most 5 records/)
  })
})
