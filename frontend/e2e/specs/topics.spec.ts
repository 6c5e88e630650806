import type { BrowserContext, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { violations } from '../driver/axe.ts'
import { closeBrowser, context, type Look, troubles } from '../driver/browser.ts'
import { Demo } from '../driver/demo.ts'
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
const grid = (page: Page, name: string | RegExp) => page.getByRole('grid', { name })
const row = (page: Page, name: string | RegExp) => page.getByRole('row').filter({ hasText: name })

afterAll(closeBrowser)

describe('the list of topics', () => {
  beforeEach(() => {
    wrong = []
  })
  afterEach(async () => {
    await ctx.close()
    await mock.stop()
    expect(wrong).toEqual([])
  })

  test('says which need a look and why, and leaves the rest below', async () => {
    const page = await open('late', '#/topics')
    await h1(page).getByText('topics need a look: orders is read 42 s late by warehouse').waitFor()
    const rows = grid(page, 'Topics')
    await rows.getByText('Need a look').waitFor()
    expect(await rows.getByRole('row').nth(2).innerText()).toContain('shop.public.orders')
    expect(await row(page, 'orders.v1').innerText()).toContain('unused for 94 d')
    expect(await row(page, 'webhooks.dead-letters').innerText()).toContain('12 letters')
    expect(await rows.getByText('__consumer_offsets').count()).toBe(0)
    await page.keyboard.press('i')
    await rows.getByText('__consumer_offsets').waitFor()
    expect(page.url()).toContain('internal=yes')
  })

  test('a row opens what is known of it, Enter goes on to its messages', async () => {
    const page = await open('late', '#/topics')
    await row(page, 'shop.public.payments').locator('[role=gridcell]').nth(3).click()
    const side = page.getByRole('complementary', { name: 'About shop.public.payments' })
    await side.getByText('written on time').waitFor()
    await side.getByRole('link', { name: /webhooks/ }).waitFor()
    expect(page.url()).toContain('sel=shop.public.payments')
    await grid(page, 'Topics').focus()
    await page.keyboard.press('Enter')
    await page.getByRole('tab', { name: 'Messages' }).waitFor()
    expect(page.url()).toContain('#/topics/shop.public.payments/messages')
    await page.goBack()
    await side.waitFor()
    await page.keyboard.press('Escape')
    await side.waitFor({ state: 'detached' })
  })

  test('is filtered, and a link brings the same', async () => {
    const page = await open('late', '#/topics')
    await grid(page, 'Topics').getByText('orders.v1').waitFor()
    await page.keyboard.press('/')
    await page.keyboard.type('warehouse ord')
    await page.getByText('2 of 10').waitFor()
    const link = page.url()
    await page.reload()
    await page.getByText('2 of 10').waitFor()
    expect(page.url()).toBe(link)
    await page.getByLabel('Filter topics').press('Escape')
    await page.getByRole('radio', { name: /No reader/ }).click()
    await row(page, 'shop.public.orders').first().waitFor({ state: 'detached' })
    expect(page.url()).toContain('show=unread')
  })

  test('selected ones are copied as lines', async () => {
    const page = await open('late', '#/topics?sort=topic')
    await grid(page, 'Topics').getByText('orders.v1').waitFor()
    await page.keyboard.press('j')
    await page.keyboard.press('x')
    await page.keyboard.press('j')
    await page.keyboard.press('x')
    await page.getByRole('button', { name: '2 topics selected' }).click()
    await page.getByRole('menuitem', { name: /Copy Freshet lines/ }).click()
    expect((await page.evaluate(() => navigator.clipboard.readText())).split('\n')).toEqual([
      'freshet topics describe orders.v1',
      'freshet topics describe partner.feed',
    ])
  })

  test('ten thousand: few rows are drawn, and filtering finds the one', async () => {
    const page = await open('huge', '#/topics?sort=topic')
    const rows = grid(page, 'Topics')
    await rows.getByText('billing.stream-00000').waitFor()
    expect(await rows.getAttribute('aria-rowcount')).toBe('10001')
    expect(await rows.locator('.row').count()).toBeLessThan(80)
    await page.keyboard.press('/')
    await page.keyboard.type('stream-07777')
    await page.getByText('1 of 10,000').waitFor()
    expect(await rows.locator('.row').count()).toBe(1)
    await page.getByLabel('Filter topics').fill('')
    await rows.press('End')
    await rows.getByText('support.stream-09999').waitFor()
    expect(await rows.locator('.row').count()).toBeLessThan(80)
  })

  test('a new topic: the effect is said, what Kafka refuses is not sent', async () => {
    const page = await open('late', '#/topics')
    await page.getByRole('button', { name: 'New topic…' }).click()
    await page.getByLabel('Name', { exact: true }).fill('a b')
    await page.getByText('letters, digits, dots').waitFor()
    await page.getByLabel('Name', { exact: true }).fill('returns')
    await page.getByLabel('Partitions').fill('6')
    await page.getByText('Makes the topic returns with 6 partitions on the local broker. Records go after 7 d.').waitFor()
    await page.getByRole('button', { name: 'Make the topic' }).click()
    await grid(page, 'Topics').getByText('returns').waitFor()
    expect(mock.acts.at(-1)?.body).toEqual({
      topic: 'returns',
      partitions: 6,
      config: { 'cleanup.policy': 'delete', 'retention.ms': '604800000' },
    })
  })

  test('nothing there teaches; what fails says so, and is tried again', async () => {
    let page = await open('empty', '#/topics')
    await h1(page).getByText('There are no topics on the local broker yet.').waitFor()
    await page.getByRole('link', { name: 'Capture a database…' }).waitFor()
    await ctx.close()
    await mock.stop()
    page = await open('late', '#/topics', {}, (m) => {
      m.failing = '/api/topic-rows'
    })
    await page.getByRole('alert').getByText('the broker does not answer').waitFor()
    mock.failing = ''
    await page.getByRole('button', { name: 'Try again' }).click()
    await grid(page, 'Topics').getByText('orders.v1').waitFor()
  })

  test('hostile names are text', async () => {
    const page = await open('hostile', '#/topics')
    await grid(page, 'Topics').getByText('<img src=x onerror=alert(1)>').first().waitFor()
    expect(await grid(page, 'Topics').innerText()).toContain('a⟨U+202E⟩gnp.exe')
  })
})

describe('one topic', () => {
  afterEach(async () => {
    await ctx.close()
    await mock.stop()
    expect(wrong).toEqual([])
  })

  test('answers, and its tabs say partitions, readers and settings', async () => {
    const page = await open('late', '#/topics/shop.public.orders/partitions')
    await h1(page)
      .getByText(/^Read 42 s late by warehouse, on time by/)
      .waitFor()
    await page.getByText('2 partitions: 1 partition of 2 is under-replicated').waitFor()
    expect(await row(page, '3,018,112').innerText()).toContain('75.1 %')
    expect(await page.getByRole('link', { name: 'at end' }).first().getAttribute('href')).toContain('from=0%3A3018111')
    await page.getByRole('tab', { name: /Consumers/ }).click()
    await row(page, 'fulfilment').getByText('has read all').waitFor()
    await row(page, 'warehouse').getByText('42.0 s').waitFor()
    await row(page, 'fulfilment').locator('[role=gridcell]').nth(4).click()
    await page.getByRole('link', { name: 'Open the group' }).waitFor()
    await page.getByRole('tab', { name: /Config/ }).click()
    await page.getByText('goes after 7 d').waitFor()
    await page.keyboard.press('/')
    await page.keyboard.type('segment.bytes')
    await row(page, 'cleanup.policy').waitFor({ state: 'detached' })
  })

  test('one that is not there says so', async () => {
    const page = await open('late', '#/topics/nowhere/config')
    await h1(page).getByText('There is no topic nowhere on the local broker.').waitFor()
  })
})

describe.each(['light', 'dark'] as const)('axe, %s', (theme) => {
  const views: [string, Scenario, string][] = [
    ['list', 'late', '#/topics?internal=yes'],
    ['one beside it', 'production', '#/topics?sel=shop.public.orders'],
    ['a new one', 'production', '#/topics?new=yes'],
    ['none', 'empty', '#/topics'],
    ['partitions', 'late', '#/topics/shop.public.orders/partitions'],
    ['consumers', 'late', '#/topics/shop.public.orders/consumers?reader=group%3Afulfilment'],
    ['config', 'unknown', '#/topics/shop.public.orders/config'],
  ]
  test.each(views)('%s', async (_name, scenario, hash) => {
    const page = await open(scenario, hash, { theme })
    await page.getByRole('grid').first().waitFor()
    await page.waitForFunction(() => !document.querySelector('[aria-busy=true]'))
    expect(await violations(page)).toEqual([])
    await ctx.close()
    await mock.stop()
  })
})

describe.skipIf(!Demo.built)('in the demo', () => {
  let demo: Demo
  beforeAll(async () => {
    demo = await new Demo().start()
  }, 120_000)
  afterAll(async () => {
    await demo?.stop()
  })

  test('from the map to who reads orders, then what the capture holds on the database, and how far the warehouse is', async () => {
    ctx = await context({ motion: 'reduce' })
    ctx.setDefaultTimeout(30_000)
    const page = await ctx.newPage()
    const found = troubles(page, demo.url)
    await page.goto(demo.link)
    await page.getByRole('link', { name: 'Topics' }).click()
    await grid(page, 'Topics').getByText('shop.public.orders', { exact: true }).waitFor()
    await page.keyboard.press('/')
    await page.keyboard.type('public.orders')
    await row(page, 'shop.public.orders').getByRole('link').click()
    await page.getByRole('tab', { name: /Consumers/ }).click()
    await row(page, 'warehouse').first().waitFor()
    await row(page, 'fulfilment').first().waitFor()
    await page.getByRole('tab', { name: /Config/ }).click()
    await page.getByText('goes after 7 d').waitFor()

    await page.getByRole('link', { name: 'Sources' }).click()
    await row(page, 'shop').getByRole('link').click()
    await h1(page)
      .getByText(/^No: our slot holds .* of WAL, and is read\.$/)
      .waitFor()
    await row(page, 'public.orders').getByText('default').waitFor()
    await page.getByRole('button', { name: 'Test shop' }).click()
    await page.getByText('the database answers').waitFor()
    await page.getByRole('button', { name: 'Pause shop…' }).click()
    await page.getByText('goes on holding WAL on the database’s disk').waitFor()
    await page.getByRole('button', { name: 'Pause shop', exact: true }).click()
    await h1(page).getByText('Yes: shop is paused, and its slot goes on holding').waitFor()
    await page.getByRole('button', { name: 'Resume shop…' }).click()
    await page.getByRole('button', { name: 'Resume shop', exact: true }).click()
    await h1(page).getByText(/^No: /).waitFor()

    await page.getByRole('link', { name: 'Sinks' }).click()
    await row(page, 'warehouse').getByRole('link').click()
    await row(page, 'shop.public.orders').getByText('running').waitFor()
    await page.getByText('Nothing was set aside', { exact: false }).first().waitFor()
    expect(found).toEqual([])
    await ctx.close()
  }, 180_000)
})
