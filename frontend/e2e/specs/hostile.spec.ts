import type { BrowserContext, Page } from 'playwright-core'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { visible } from '../../src/lib/text/visible.ts'
import { closeBrowser, context, troubles } from '../driver/browser.ts'
import { Demo } from '../driver/demo.ts'
import { hostile } from '../driver/hostile.ts'
import { cut } from '../driver/look.ts'
import { visit } from '../driver/rooms.ts'
import { Serve } from '../driver/serve.ts'
import { Mock } from '../driver/server.ts'

// Three hundred hostile texts, as names of everything and as records: each is shown as it is, and does nothing.

let ctx: BrowserContext
let page: Page
let wrong: string[] = []

afterEach(async () => {
  expect(await page.evaluate(() => (window as unknown as { harmed?: number }).harmed)).toBeUndefined()
  expect(
    await page.evaluate(() => document.querySelectorAll('main :is(script, iframe, img, object, style, form[action], base, meta)').length),
  ).toBe(0)
  expect(wrong).toEqual([])
})
afterAll(closeBrowser)

/** Of the texts, those that a grid does not show, whole or with the whole of it as a title, when it is gone through. */
async function lacking(name: RegExp, texts: readonly string[]): Promise<string[]> {
  const grid = page.getByRole('grid', { name }).first()
  await grid.focus()
  await page.keyboard.press('Home')
  const seen = new Set<string>()
  for (let at = -1; ; ) {
    const drawn = await grid.evaluate((el) => ({
      top: el.scrollTop,
      said: [...el.querySelectorAll('[role=gridcell], [role=gridcell] *')].flatMap((c) => [
        c.textContent ?? '',
        c.getAttribute('title') ?? '',
      ]),
    }))
    for (const s of drawn.said) seen.add(s.trim())
    if (drawn.top === at) break
    at = drawn.top
    await grid.evaluate((el) => el.scrollBy(0, el.clientHeight * 0.8))
    await page.evaluate(() => new Promise((f) => requestAnimationFrame(() => requestAnimationFrame(f))))
  }
  return texts.filter((t) => !seen.has(visible(t).trim()))
}

describe('as names', () => {
  const mock = new Mock('hostile many')

  test('the page opens', async () => {
    await mock.start()
    ctx = await context({ motion: 'reduce' })
    ctx.setDefaultTimeout(30_000)
    page = await ctx.newPage()
    wrong = troubles(page, mock.url)
    await page.goto(mock.link)
    await page.locator('[data-node]').first().waitFor()
    expect(await cut(page)).toEqual([])
  }, 60_000)

  test.each([
    ['Topics', '#/topics', /^Topics/],
    ['Groups', '#/groups', /^Consumer groups/],
    ['Sources', '#/sources', /./],
    ['Sinks', '#/sinks', /./],
    ['Freshness', '#/freshness', /./],
  ] as const)(
    '%s',
    async (_, hash, grid) => {
      await visit(page, hash)
      expect(await cut(page)).toEqual([])
      // What begins with two underscores is an internal topic, which the list leaves out until it is asked for.
      expect(
        await lacking(
          grid,
          hostile.filter((t) => hash !== '#/topics' || !t.startsWith('__')),
        ),
      ).toEqual([])
    },
    120_000,
  )

  test('the Map as a drawing and as a table', async () => {
    for (const hash of ['#/', '#/?view=table']) {
      await visit(page, hash)
      expect(await cut(page)).toEqual([])
    }
    await ctx.close()
    await mock.stop()
    ctx = await context()
    page = await ctx.newPage()
    wrong = []
  }, 60_000)
})

describe.skipIf(!Demo.built)('as records', () => {
  const serve = new Serve()
  afterAll(async () => {
    await ctx?.close()
    await serve.stop()
  })

  test('each key and each value is there', async () => {
    await serve.start()
    await serve.produce(
      'hostile',
      1,
      hostile.map(
        (t, i) =>
          `${t.replaceAll(/[\t\n\r]/g, ' ')}\t${JSON.stringify({ text: t, big: 'BIG', price: 'PRICE', n: i }).replace('"BIG"', '9223372036854775807').replace('"PRICE"', '12345678901234567.890123456789')}`,
      ),
    )
    ctx = await context({ motion: 'reduce' })
    ctx.setDefaultTimeout(30_000)
    page = await ctx.newPage()
    wrong = troubles(page, serve.url)
    await page.goto(await serve.link())
    await page.locator('main h1').first().waitFor({ state: 'attached' })
    await visit(page, '#/topics/hostile/messages?from=oldest')
    expect(await cut(page)).toEqual([])
    const grid = page.getByRole('grid')
    expect(await grid.getAttribute('aria-rowcount')).toBe(`${hostile.length + 1}`)
    await grid.focus()
    await page.keyboard.press('Home')
    await page.keyboard.press('Enter')
    const drawer = page.getByRole('complementary')
    // Each third in CI: a proof looks at all of them.
    const step = process.env.FRESHET_PROOF ? 1 : 3
    for (let i = 0; i < hostile.length; i += step) {
      const text = visible(hostile[i] ?? '').slice(0, 60)
      const flat = (t: string) => t.replace(/\s+/g, ' ').trim()
      const lacks = async () => {
        const said = flat(await drawer.innerText())
        const there = [flat(text), flat(JSON.stringify(text).slice(1, -1))].some((t) => said.includes(t))
        return [`offset ${i.toLocaleString('en-US')}`, there ? '' : text, '9223372036854775807', '12345678901234567.890123456789'].filter(
          (t) => !said.includes(t),
        )
      }
      await expect.poll(lacks, { timeout: 20_000, interval: 20 }).toEqual([])
      for (let n = 0; n < step; n++) await page.keyboard.press('j')
    }
  }, 300_000)
})
