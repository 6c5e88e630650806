import type { BrowserContext, Page } from 'playwright-core'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { violations } from '../driver/axe.ts'
import { closeBrowser, context, type Look, troubles } from '../driver/browser.ts'
import type { Scenario } from '../driver/scenarios.ts'
import { Mock } from '../driver/server.ts'

// Which objective is missed, since when and by which hop. The demo's own is walked through in groups.spec.ts.

let mock: Mock
let ctx: BrowserContext
let wrong: string[] = []
afterAll(closeBrowser)
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
  await page.locator('main h1').first().waitFor({ state: 'attached' })
  await page.keyboard.press('g')
  await page.keyboard.press('f')
  await page.getByRole('grid', { name: 'Paths' }).waitFor()
  return page
}

const first = (page: Page) => page.locator('main h1').innerText()

test('the first line says which objective is missed, since when and by which hop', async () => {
  const page = await open('late')
  expect(await first(page)).toBe('1 of 17 objectives is missed: orders → warehouse, 42 s against 15 s. 16 are met.')
  const answer = await page.getByRole('region', { name: 'Answer' }).innerText()
  expect(answer).toMatch(/Since \d\d:\d\d:\d\d, for 1[89] min/)
  expect(answer).toContain('Waiting for warehouse spends 41.7 s of the 42.0 s')
})

test('each row has its hop and its time, and a path opens beside them', async () => {
  const page = await open('late')
  const row = page.getByRole('row').filter({ hasText: 'orders → warehouse' }).first()
  await row.getByRole('img', { name: /^orders → warehouse, last hour: .*% late.*not read$/ }).waitFor()
  await row.getByRole('link').click()
  const side = page.getByRole('complementary', { name: 'About orders → warehouse' })
  await side.getByText(/of what was read, by \d+ readings; within 15 s is the objective/).waitFor()
  await side.getByText(/of the range was not read/).waitFor()
  await side.getByRole('link', { name: 'Sink warehouse' }).waitFor()
  await page.keyboard.press('t')
  await side.getByRole('columnheader', { name: 'Waiting for warehouse' }).waitFor()
  await page.keyboard.press('Escape')
  await side.waitFor({ state: 'detached' })
  expect(page.url()).not.toContain('sel=')
})

test('segments, owner, filter and order are in the link', async () => {
  const page = await open('late')
  await page.getByRole('radio', { name: 'Missed 1' }).click()
  expect(
    await page
      .getByRole('row')
      .filter({ has: page.getByRole('link') })
      .count(),
  ).toBe(1)
  await page.getByRole('radio', { name: /^All/ }).click()
  await page.getByRole('button', { name: /^Sorted/ }).click()
  await page.getByRole('menuitemcheckbox', { name: 'now' }).click()
  expect(page.url()).toContain('sort=now')
  await page.keyboard.press('/')
  await page.keyboard.type('webhooks')
  await page.getByText('2 paths', { exact: true }).waitFor()
  await page.reload()
  await page.getByText('2 paths', { exact: true }).waitFor()
})

test('a brush on the chart offers a replay of it', async () => {
  const page = await open('late')
  await page.getByRole('link', { name: 'orders → warehouse', exact: true }).click()
  const chart = page.getByRole('complementary').getByRole('img', { name: /peak/ })
  await chart.focus()
  for (let i = 0; i < 12; i++) await page.keyboard.press('Shift+ArrowLeft')
  await page.keyboard.press('Enter')
  const href = await page.getByRole('menuitem', { name: 'Replay this range…' }).getAttribute('href')
  expect(href).toMatch(/^#\/replay\/new\?source=embedded%2Fshop\.public\.orders&since=.*&until=/)
  await page.keyboard.press('Escape')
  expect(await chart.evaluate((el) => el === document.activeElement)).toBe(true)
})

test('a table of readings that could not be had is said where it would be', async () => {
  const page = await open('late')
  mock.world.history = () => {
    throw new Error('no history')
  }
  await page.getByRole('link', { name: 'payments → analytics', exact: true }).click()
  await page.getByRole('complementary').getByRole('alert').filter({ hasText: 'could not be read' }).first().waitFor()
  wrong.length = 0
})

test('what is unknown is not met', async () => {
  const page = await open('unknown')
  expect(await first(page)).toBe('Whether the objectives are met is unknown.')
  expect(await page.getByRole('row').nth(1).innerText()).toContain('unknown')
})

test('only the rows in view are read, of many', async () => {
  const page = await open('huge')
  const asked: string[] = []
  page.on('request', (r) => {
    if (r.url().includes('/api/history')) asked.push(r.url())
  })
  await page.waitForTimeout(1500)
  await page.reload()
  await page.locator('svg.strip').nth(5).waitFor()
  const count = Number(await page.getByRole('grid', { name: 'Paths' }).getAttribute('aria-rowcount'))
  expect(count).toBeGreaterThan(200)
  expect(new Set(asked.map((u) => new URL(u).searchParams.get('topic'))).size).toBeLessThan(60)
})

describe.each(['light', 'dark'] as const)('axe, %s', (theme) => {
  test.each(['late', 'unknown', 'hostile', 'empty'] as const)('%s', async (scenario) => {
    const page = await open(scenario, { theme, ...(scenario === 'late' ? { width: 1024, height: 700 } : {}) })
    if (scenario !== 'empty') {
      await page.getByRole('row').nth(1).click()
      await page.getByRole('complementary').waitFor()
    }
    expect(await violations(page)).toEqual([])
  })
})
