import type { BrowserContext, Page } from 'playwright-core'
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest'
import { closeBrowser, context, type Look, troubles } from '../driver/browser.ts'
import type { Scenario } from '../driver/scenarios.ts'
import { Mock } from '../driver/server.ts'

let mock: Mock
let ctx: BrowserContext
let wrong: string[]

async function open(scenario: Scenario, look: Look = {}): Promise<Page> {
  mock = await new Mock(scenario).start()
  ctx = await context({ motion: 'reduce', ...look })
  const page = await ctx.newPage()
  wrong = troubles(page, mock.url)
  await page.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (e) => console.error(`policy: ${e.violatedDirective} ${e.blockedURI}`))
  })
  await page.goto(mock.link)
  return page
}

const h1 = (page: Page) => page.locator('main h1').first().innerText()

afterAll(closeBrowser)
beforeEach(() => {
  wrong = []
})
afterEach(async () => {
  await ctx?.close()
  await mock?.stop().catch(() => 0)
  expect(wrong).toEqual([])
})

describe('the map', () => {
  test('answers in its first line, and the login code is gone from the address', async () => {
    const page = await open('late')
    await page.locator('[data-node="sink:warehouse"]').waitFor()
    expect(await h1(page)).toContain('orders → warehouse is 42 s behind, and catching up: about 3 min to go.')
    expect(page.url()).toBe(`${mock.url}/#/`)
    expect(await page.title()).toBe('1 late · Map · demo · Freshet')
    expect(mock.acts.map((a) => [a.path, a.header])).toEqual([['/api/session', '1']])
  })

  test('follows the feed', async () => {
    const page = await open('healthy')
    await page.getByText('Everything is on time.').waitFor()
    const [p] = mock.world.map.paths
    if (!p) throw new Error('no path')
    Object.assign(p, { state: 'late', total: { ...p.total, value: 77, low: 76, high: 78 } })
    mock.publish()
    await page.getByText('is 77 s behind').waitFor()
  })

  test('a click opens the sheet, Escape closes it, Back opens it again', async () => {
    const page = await open('late')
    await page.locator('[data-node="sink:warehouse"]').click()
    const sheet = page.getByRole('complementary', { name: 'About warehouse' })
    await sheet.getByText('Applied up to').waitFor()
    expect(page.url()).toContain('sel=sink%3Awarehouse')
    await page.keyboard.press('Escape')
    await sheet.waitFor({ state: 'hidden' })
    expect(await page.evaluate(() => document.activeElement?.getAttribute('data-node'))).toBe('sink:warehouse')
    await page.goBack()
    await sheet.waitFor()
  })

  test('an edge can be clicked', async () => {
    const page = await open('late')
    await page.locator('[data-label="topic:shop.public.orders>sink:warehouse"] b').click()
    await page.getByRole('complementary', { name: 'About shop.public.orders → warehouse' }).waitFor()
    await page.getByText('Where the 42.0 s go').waitFor()
  })

  test('by keyboard alone: lane by lane, along the edges, in and out', async () => {
    const page = await open('late')
    const node = () => page.evaluate(() => document.activeElement?.getAttribute('data-node') ?? '')
    await page.locator('[data-node="source:shop"]').focus()
    await page.keyboard.press('Tab')
    expect(await node()).toMatch(/^topic:/)
    await page.keyboard.press('Tab')
    expect(await node()).toMatch(/^group:/)
    await page.keyboard.press('Shift+Tab')
    await page.keyboard.press('ArrowDown')
    const topic = await node()
    expect(topic).toMatch(/^topic:/)
    await page.keyboard.press('ArrowLeft')
    expect(await node()).toBe('source:shop')
    await page.keyboard.press('ArrowRight')
    await page.keyboard.press('ArrowRight')
    expect(await node()).toMatch(/^(group|sink):/)
    const end = await node()
    await page.keyboard.press('Enter')
    await page.getByRole('complementary', { name: `About ${end.slice(end.indexOf(':') + 1)}` }).waitFor()
    await page.keyboard.press('Escape')
    expect(await node()).toBe(end)
  })

  test('keys: filter, table, edges, range, map of keys, home', async () => {
    const page = await open('late')
    await page.locator('[data-node="source:shop"]').waitFor()
    await page.keyboard.press('/')
    await page.keyboard.type('payments')
    await page.getByText('6 of 14').waitFor()
    expect(await page.locator('[data-node]').count()).toBe(6)
    await page.keyboard.press('Escape')
    await page.keyboard.press('Escape')
    await page.keyboard.press('e')
    expect(page.url()).toContain('edges=rate')
    await page.keyboard.press(']')
    expect(page.url()).toContain('range=6h')
    await page.keyboard.press('t')
    await page.getByRole('region', { name: 'Pipeline as tables' }).waitFor()
    await page.keyboard.press('?')
    await page.getByRole('dialog', { name: 'Keys' }).waitFor()
    await page.keyboard.press('Escape')
    await page.keyboard.press('g')
    await page.keyboard.press('m')
    await page.locator('[data-node="source:shop"]').waitFor()
    expect(page.url()).not.toContain('view=table')
  })

  test('letters can be turned off as commands', async () => {
    const page = await open('late')
    await page.locator('[data-node="source:shop"]').waitFor()
    await page.keyboard.press('?')
    await page.getByRole('checkbox').uncheck()
    await page.keyboard.press('Escape')
    await page.keyboard.press('t')
    expect(page.url()).not.toContain('view=table')
  })

  test('a link opens the same view', async () => {
    const page = await open('late')
    await page.locator('[data-node="source:shop"]').waitFor()
    await page.goto(`${mock.url}/#/?sel=path:public.orders%3Eshop.public.orders%3Esink:warehouse&edges=lag&range=6h&q=orders`)
    await page.reload()
    await page.getByRole('complementary', { name: 'About orders → warehouse' }).waitFor()
    expect(await page.getByRole('radio', { name: 'Lag in records' }).getAttribute('aria-checked')).toBe('true')
    await page.getByRole('button', { name: /^Last 6 h/ }).waitFor()
    expect(await page.getByLabel('Filter the map by name').inputValue()).toBe('orders')
  })

  test('the chart can be read by keyboard and as a table', async () => {
    const page = await open('late')
    await page.locator('[data-node="sink:warehouse"]').click()
    const chart = page.locator('aside [role=img][aria-label*="peak"]')
    await chart.focus()
    await page.keyboard.press('End')
    await page.keyboard.press('ArrowLeft')
    expect(await page.locator('aside output').innerText()).toMatch(/^\d\d:\d\d:\d\d: .* s/)
    await page.locator('aside').getByRole('button', { name: 'Table' }).click()
    await page.locator('aside').getByRole('columnheader', { name: 'At most' }).waitFor()
  })

  test('nothing moves while readings change', async () => {
    const page = await open('late')
    await page.locator('[data-node="source:shop"]').waitFor()
    await page.getByText('What changed in the last hour').waitFor()
    await page.waitForTimeout(800)
    await page.evaluate(() => {
      const w = window as unknown as { shift: number }
      w.shift = 0
      new PerformanceObserver((list) => {
        for (const e of list.getEntries()) w.shift += (e as unknown as { value: number }).value
      }).observe({ type: 'layout-shift', buffered: false })
    })
    for (let i = 0; i < 5; i++) {
      for (const n of mock.world.map.nodes) if (n.delay?.value) n.delay = { ...n.delay, value: n.delay.value * 1.7 }
      for (const e of mock.world.map.edges) if (e.rate?.value) e.rate = { ...e.rate, value: e.rate.value * 3 }
      mock.publish()
      await page.waitForTimeout(120)
    }
    expect(await page.evaluate(() => (window as unknown as { shift: number }).shift)).toBeLessThan(0.01)
  })
})

describe('acts', () => {
  test('pausing a sink says the effect before, asks why, and shows the audit entry', async () => {
    const page = await open('healthy')
    await page.locator('[data-node="sink:warehouse"]').click()
    await page.getByRole('button', { name: 'Pause warehouse…' }).click()
    await page.getByText('Nothing more is written to warehouse. Records wait in 7 topics, so 7 paths will fall behind').waitFor()
    expect(mock.acts.filter((a) => a.path.includes('pause'))).toEqual([])
    await page.getByLabel('Why, for the audit').fill('migration')
    await page.getByRole('button', { name: 'Pause warehouse', exact: true }).click()
    await page.getByText('Audit entry 41').waitFor()
    expect(mock.acts.at(-1)).toEqual({ path: '/api/sinks/warehouse/pause', body: { reason: 'migration' }, header: '1' })
    await page.getByText('warehouse is paused: paused: migration.').waitFor()
    await page.getByRole('button', { name: 'Resume warehouse…' }).click()
    await page.getByRole('button', { name: 'Resume warehouse', exact: true }).click()
    await page.getByText('Audit entry 42').waitFor()
  })

  test('in production the name is typed', async () => {
    const page = await open('production')
    await page.locator('[data-node="sink:warehouse"]').click()
    await page.getByRole('button', { name: 'Pause warehouse…' }).click()
    const go = page.getByRole('button', { name: 'Pause warehouse', exact: true })
    expect(await go.isDisabled()).toBe(true)
    await page.getByLabel('Why, for the audit').fill('migration')
    await page.getByLabel('This is production').fill('warehous')
    expect(await go.isDisabled()).toBe(true)
    await page.getByLabel('This is production').fill('warehouse')
    expect(await go.isDisabled()).toBe(false)
  })

  test('the demo can be broken and mended; elsewhere nothing offers it', async () => {
    const page = await open('healthy')
    const fault = page.locator('li').filter({ hasText: 'slow consumer' })
    await fault.getByRole('button', { name: 'Break it for 3 min…' }).click()
    await fault.getByText('What you should see: Its lag grows').waitFor()
    await fault.getByRole('button', { name: 'Break it for 3 min', exact: true }).click()
    await fault.getByText('broken now').waitFor()
    expect(mock.acts.at(-1)).toMatchObject({ path: '/api/demo/faults/slow-consumer/start', body: { for_s: 180 } })
    await ctx.close()
    await mock.stop()
    const other = await open('production')
    await other.locator('[data-node="source:shop"]').waitFor()
    expect(await other.getByText('Break something').count()).toBe(0)
  })
})

describe('states', () => {
  test('a used link is said calmly, and a new session is found', async () => {
    mock = await new Mock('late').start()
    ctx = await context()
    const page = await ctx.newPage()
    await page.goto(`${mock.url}/#login=used-before`)
    await page.getByText('This link was used, or the session has ended').waitFor()
    expect(page.url()).not.toContain('used-before')
    const polls = mock.polls
    await page.waitForTimeout(1500)
    expect(mock.polls).toBe(polls)
    const second = await ctx.newPage()
    await second.goto(mock.link)
    await second.locator('[data-node="source:shop"]').waitFor()
    await page.bringToFront()
    await page.locator('[data-node="source:shop"]').waitFor()
  })

  test('a session that ends says so', async () => {
    const page = await open('late')
    await page.locator('[data-node="source:shop"]').waitFor()
    mock.endSession()
    await page.getByText('This link was used, or the session has ended').waitFor()
  })

  test('a server that stops leaves what was held with its age, and the page comes back alone', async () => {
    const page = await open('late')
    await page.locator('[data-node="source:shop"]').waitFor()
    const port = await mock.stop()
    await page.getByText(/What is shown is .* old/).waitFor()
    expect(await page.locator('[data-node]').count()).toBe(14)
    await mock.start(port)
    await page.getByText(/What is shown is/).waitFor({ state: 'hidden' })
    await page.getByRole('button', { name: /Live data: Live/ }).waitFor()
  })

  test('nothing yet: ways to begin, the one that shows something first', async () => {
    const page = await open('empty')
    await page.getByRole('button', { name: 'Start the demo' }).waitFor()
  })

  test('unknown is written out, and nothing is zero', async () => {
    const page = await open('unknown')
    await page.locator('[data-node="sink:warehouse"]').waitFor()
    expect(await h1(page)).toContain('is unknown: the first round is not over')
    const nodes = await page.locator('[data-node^="group:"], [data-node^="sink:"]').allInnerTexts()
    for (const text of nodes) {
      expect(text).toContain('unknown')
      expect(text).not.toMatch(/\b0(\.0)? (s|ms|rec)/)
    }
  })

  test('300 nodes are folded, the late one stands out, a filter and a click unfold', async () => {
    const page = await open('huge')
    await page.locator('[data-node^="fold:"]').first().waitFor()
    expect(await page.locator('[data-node]').count()).toBeLessThan(60)
    await page.locator('[data-node="topic:ledger.public.accounts_03"]').waitFor()
    await page.locator('[data-node="fold:topic:crm.public.*"]').click()
    await page.getByRole('button', { name: 'Show all 22 on the map' }).click()
    await page.locator('[data-node="topic:crm.public.accounts_09"]').waitFor()
    await page.getByRole('button', { name: 'crm.public.*' }).click()
    await page.locator('[data-node="fold:topic:crm.public.*"]').waitFor()
  })

  test('hostile names stay text', async () => {
    const page = await open('hostile')
    await page.locator('[data-node="group:<img src=x onerror=alert(1)>"]').click()
    await page.getByRole('complementary').getByText('Members').first().waitFor()
    await page.locator('[data-node="topic:shop.public.orders"]').click()
    await page.getByRole('button', { name: 'Read 10' }).click()
    await page.locator('aside bdi.value').getByText('⟨U+202E⟩').waitFor()
    await page.keyboard.press('t')
    await page.getByRole('region', { name: 'Pipeline as tables' }).waitFor()
    expect(await page.locator('img, main script').count()).toBe(0)
    const text = await page.locator('body').innerText()
    for (const hidden of ['\u202e', '\u200b', '\u001b', '\0']) expect(text).not.toContain(hidden)
    expect(text).toContain('<img src=x onerror=alert(1)>')
  })
})

describe('tabs', () => {
  test('eight tabs stay live with one poll', async () => {
    const page = await open('healthy')
    await page.locator('[data-node="source:shop"]').waitFor()
    const tabs = [page]
    for (let i = 0; i < 7; i++) {
      const tab = await ctx.newPage()
      await tab.goto(`${mock.url}/#/`)
      tabs.push(tab)
    }
    for (const t of tabs) await t.locator('[data-node="source:shop"]').waitFor({ state: 'attached' })
    for (const name of ['first news', 'second news']) {
      mock.world.map.events.push({ at: new Date(Date.now() - 60_000).toISOString(), kind: 'state', text: name, ref: '' })
      mock.publish()
      for (const t of tabs) await t.getByText(name).first().waitFor({ state: 'attached' })
    }
    expect(mock.mostHeld).toBe(1)
  })
})
