import type { BrowserContext, Page } from 'playwright-core'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { violations } from '../driver/axe.ts'
import { closeBrowser, context, type Look, troubles } from '../driver/browser.ts'
import type { Scenario } from '../driver/scenarios.ts'
import { Mock } from '../driver/server.ts'

let mock: Mock
let ctx: BrowserContext
let wrong: string[] = []

async function open(scenario: Scenario, hash: string, look: Look = {}, before: (m: Mock) => void = () => {}): Promise<Page> {
  mock = await new Mock(scenario).start()
  before(mock)
  ctx = await context({ motion: 'reduce', ...look })
  const page = await ctx.newPage()
  wrong = troubles(page, mock.url)
  await page.goto(mock.link)
  await page.locator('main h1').first().waitFor({ state: 'attached' })
  await page.evaluate((h) => {
    location.hash = h
  }, hash)
  return page
}

const h1 = (page: Page) => page.locator('main h1').first()
const row = (page: Page, name: string) => page.getByRole('row').filter({ hasText: name })

afterAll(closeBrowser)
afterEach(async () => {
  await ctx.close()
  await mock.stop()
  expect(wrong).toEqual([])
})

describe('sources', () => {
  test('answers whether anything is at risk, and opens the one', async () => {
    const page = await open('late', '#/sources')
    await h1(page).getByText('No: our slot on shop holds 12.0 MiB of WAL, and is read.').waitFor()
    await page.getByText('nothing limits what it may hold').waitFor()
    await row(page, 'shop').getByRole('link').click()
    await row(page, 'public.order_lines').getByText('default').waitFor()
    await row(page, 'public.gift_cards').getByText('not captured').waitFor()
    expect(await row(page, 'Received').innerText()).toContain('0 B')
    expect(await row(page, 'Confirmed').innerText()).toContain('11.5 KiB')
  })

  test('y on a finding copies its statement', async () => {
    const page = await open('late', '#/sources/shop')
    await page.getByRole('button', { name: 'Copy the statement' }).last().focus()
    await page.keyboard.press('y')
    await page.getByText('Statement copied').waitFor()
    expect(await page.evaluate(() => navigator.clipboard.readText())).toContain('ALTER SYSTEM SET max_slot_wal_keep_size')
  })

  test('dropping in production says the exact effect, and wants the name', async () => {
    const page = await open('production', '#/sources/shop')
    await page.getByRole('button', { name: 'Drop shop…' }).click()
    await page.getByText('Removes the slot freshet_shop and the publications').waitFor()
    const go = page.getByRole('button', { name: 'Drop shop', exact: true })
    expect(await go.isDisabled()).toBe(true)
    await page.getByLabel('This is production').fill('shop')
    await go.click()
    await h1(page).getByText('nothing of ours is on any database').waitFor()
  })

  test('capturing: the plan first, the password beside it, then the capture', async () => {
    const page = await open('empty', '#/sources')
    await page.getByRole('button', { name: 'Capture a database…' }).first().click()
    await page.getByLabel('Name, ours for it').fill('shop')
    await page.getByLabel('How to reach it').fill('postgres://capture@db:5432/shop')
    await page.getByLabel('Password').fill('s3:cret')
    await page.getByRole('button', { name: 'See what it would do' }).click()
    await page.getByText('makes the publication freshet_shop of 2 tables').waitFor()
    expect(mock.acts.at(-1)?.body).toMatchObject({ dsn: 'postgres://capture:s3%3Acret@db:5432/shop', tables: ['public.*'] })
    expect(await page.locator('main').innerText()).not.toContain('s3:cret')
    await page.getByRole('button', { name: 'Capture 3 tables' }).click()
    await expect.poll(() => page.url()).toContain('#/sources/shop')
    expect(mock.acts.some((a) => a.path === '/api/sources')).toBe(true)
  })

  test('a plan that is refused cannot be created', async () => {
    const page = await open('late', '#/sources?new=yes', {}, (m) => {
      m.world.plan.refused = true
    })
    await page.getByLabel('Name, ours for it').fill('x')
    await page.getByLabel('How to reach it').fill('@env:DSN')
    await page.getByRole('button', { name: 'See what it would do' }).click()
    await page.getByText('Refused as it is').waitFor()
    expect(await page.getByRole('button', { name: /^Capture \d/ }).count()).toBe(0)
  })

  test('a thousand tables: few rows, and the filter', async () => {
    const page = await open('huge', '#/sources/shop')
    const grid = page.getByRole('grid', { name: 'Tables of shop' })
    await grid.getByText('public.table_0001').waitFor()
    expect(await grid.locator('.row').count()).toBeLessThan(60)
    await page.keyboard.press('/')
    await page.keyboard.type('table_0777')
    await grid.getByText('public.table_0777').waitFor()
    expect(await grid.locator('.row').count()).toBe(1)
  })

  test('what fails says so; one that is gone too', async () => {
    const page = await open('late', '#/sources', {}, (m) => {
      m.failing = '/api/sources'
    })
    await page.getByRole('alert').getByText('the broker does not answer').waitFor()
    mock.failing = ''
    await page.evaluate(() => {
      location.hash = '#/sources/nowhere'
    })
    await h1(page).getByText('There is no source nowhere.').waitFor()
  })
})

describe('sinks', () => {
  test('says which is behind and by how much, and what was parked and why', async () => {
    const page = await open('late', '#/sinks')
    await h1(page).getByText('warehouse is 42 s behind with orders, and catching up: about 3 min to go.').waitFor()
    await row(page, 'webhooks').getByRole('link').click()
    await page.getByText('status 422: the currency is none of ISO 4217').waitFor()
    await page.getByRole('button', { name: 'Pause webhooks…' }).click()
    await page.getByText('Records wait in their topics').waitFor()
    await page.getByRole('button', { name: 'Test webhooks' }).click()
    await page.getByText('it answers').waitFor()
  })

  test('a new one says what it will do to its target', async () => {
    const page = await open('empty', '#/sinks')
    await page.getByRole('button', { name: 'New sink…' }).first().click()
    await page.getByText('makes the schema freshet with one table').waitFor()
    await page.getByRole('radio', { name: 'HTTP' }).click()
    await page.getByText('sends one POST for each record').waitFor()
    await page.getByLabel('Name, ours for it').fill('hooks')
    await page.getByLabel('Address').fill('https://example.org/in')
    await page.getByLabel('Topics that feed it').fill('shop.events.*')
    await page.getByText('begins with the oldest record').waitFor()
    await page.getByRole('button', { name: 'Make the sink' }).click()
    await expect
      .poll(() => mock.acts.at(-1)?.body)
      .toEqual({ name: 'hooks', type: 'http', url: 'https://example.org/in', topics: ['shop.events.*'], from: 'earliest' })
  })

  test('hostile names are text', async () => {
    const page = await open('hostile', '#/sinks')
    await page.getByRole('grid', { name: 'Sinks' }).getByText('<img src=x onerror=alert(1)>').first().waitFor()
  })
})

describe.each(['light', 'dark'] as const)('axe, %s', (theme) => {
  const views: [string, Scenario, string][] = [
    ['sources', 'late', '#/sources'],
    ['no source', 'empty', '#/sources'],
    ['a new source', 'production', '#/sources?new=yes'],
    ['a source', 'late', '#/sources/shop'],
    ['sinks', 'late', '#/sinks'],
    ['a new sink', 'late', '#/sinks?new=yes'],
    ['a sink', 'late', '#/sinks/webhooks'],
    ['hostile sources', 'hostile', '#/sources'],
  ]
  test.each(views)('%s', async (_name, scenario, hash) => {
    const page = await open(scenario, hash, { theme })
    await page.getByRole('grid').first().waitFor()
    await page.waitForFunction(() => !document.querySelector('[aria-busy=true]'))
    expect(await violations(page)).toEqual([])
  })
})
