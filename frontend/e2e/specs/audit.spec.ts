import type { BrowserContext, Page } from 'playwright-core'
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest'
import { violations } from '../driver/axe.ts'
import { closeBrowser, context, type Look, troubles } from '../driver/browser.ts'
import { cut } from '../driver/look.ts'
import { History, history, hostileText } from '../driver/replays.ts'
import { Mock } from '../driver/server.ts'

// The real history, proved in the page, is in replay.spec.ts; what cannot be had at will is here.

let mock: Mock
let ctx: BrowserContext
let wrong: string[] = []

async function open(hash: string, look: Look = {}, before?: (m: Mock) => void): Promise<Page> {
  mock = await new Mock('late').start()
  before?.(mock)
  ctx = await context({ motion: 'reduce', ...look })
  ctx.setDefaultTimeout(30_000)
  const page = await ctx.newPage()
  wrong = troubles(page, mock.url)
  await page.goto(mock.link)
  await page.locator('[data-node]').first().waitFor()
  await page.evaluate((h) => {
    location.hash = h
  }, hash)
  return page
}

afterAll(closeBrowser)
beforeEach(() => {
  wrong = []
})
afterEach(async () => {
  await ctx?.close()
  await mock?.stop()
  expect(wrong).toEqual([])
})

const h1 = (page: Page) => page.locator('main h1').first().innerText()

describe('the history', () => {
  test('says what is proved, and never calls an old verification the present state', async () => {
    const page = await open('#/audit')
    await page.getByText('62 entries, not verified since Freshet began.').waitFor()
    await page.getByRole('button', { name: 'Verify now' }).click()
    await page.getByText('All 62 entries are intact.').waitFor()
    mock.audit.entries.push({ ...(mock.audit.entries[0] as (typeof mock.audit.entries)[0]), seq: '62' })
    mock.audit.leaves.push('{}')
    await page.keyboard.press('.')
    await page.getByText(/^The first 62 entries were intact at /).waitFor()
    expect(await h1(page)).toContain('1 newer one has not been looked at. The newest 1 is not signed yet.')
  })

  test('is searched, and what was searched is in the link', async () => {
    const page = await open('#/audit')
    await page.getByLabel('Act', { exact: true }).fill('replay.*')
    await page.getByText('5, of 62').waitFor()
    await page.getByLabel('On what').fill('jb_done')
    await page.getByText('3, of 62').waitFor()
    await page.getByLabel(/^Search the entries/).fill('ranges')
    await page.getByText('1, of 62').waitFor()
    expect(page.url()).toContain('action=replay.*&subject=jb_done&text=ranges')
    await page.getByLabel('Who').fill('nobody')
    await page.getByText('No entry fits.').waitFor()
    await page.getByRole('button', { name: 'Show all' }).click()
    await page.getByText('62', { exact: true }).last().waitFor()
  })

  test('of 20,000 entries comes page by page', async () => {
    const page = await open('#/audit', {}, (m) => {
      m.audit = history(20_000)
      m.audit.signed = 1
    })
    const grid = page.getByRole('grid')
    await page.getByText('100 so far').waitFor()
    await grid.focus()
    for (const n of ['200', '300']) {
      await page.keyboard.press('End')
      await page.getByText(`${n} so far`).waitFor()
    }
    expect(await grid.getByRole('row').count()).toBeLessThan(80)
  }, 120_000)
})

describe('an entry', () => {
  test('is proved by the page itself, with its pair, and the arrows go on', async () => {
    const page = await open('#/audit?seq=60')
    const aside = page.locator('aside')
    await aside.getByText('proved', { exact: true }).waitFor()
    await aside.getByText('signature good').waitFor()
    await aside.getByRole('link', { name: '61', exact: true }).click()
    await aside.getByText('Closes the intent 60').waitFor()
    await aside.getByText('proved', { exact: true }).waitFor()
    await page.keyboard.press('Escape')
    await aside.waitFor({ state: 'detached' })
    expect(await page.evaluate(() => document.activeElement?.getAttribute('role'))).toBe('grid')
    await page.keyboard.press('j')
    await page.keyboard.press('Enter')
    await aside.waitFor()
  })

  test('that was changed is shown as broken, at the entry itself', async () => {
    const page = await open('#/audit?seq=20', {}, (m) =>
      m.audit.changed.set(20, (m.audit.leaves[20] ?? '').replace('warehouse', 'warehausf')),
    )
    await page.getByText('broken here').waitFor()
    await page.getByText('Entry 21 remembers another hash of this entry: the entry itself was changed.').waitFor()
    await page.getByText('the root that was signed', { exact: true }).waitFor()
    await page.getByRole('button', { name: 'Verify now' }).click()
    await page.getByText('The history is not intact: entry 20 is not the one that was recorded.').waitFor()
    expect(await page.getByRole('link', { name: 'Open 20' }).getAttribute('href')).toBe('#/audit?seq=20')
    expect(await violations(page)).toEqual([])
  })

  test('whose way up was changed is told from one that was changed itself', async () => {
    const page = await open('#/audit?seq=20', {}, (m) => {
      const proof = m.audit.proof.bind(m.audit)
      m.audit.proof = (seq) => {
        const p = proof(seq)
        return p && seq === 20 ? { ...p, proof: p.proof.map((h, i) => (i === 2 ? 'A'.repeat(43).concat('=') : h)) } : p
      }
    })
    await page.getByText('Entry 21 remembers this entry as it stands').waitFor()
    expect(await page.getByText('broken here').count()).toBe(0)
  })

  test('given in another’s place proves nothing', async () => {
    const page = await open('#/audit?seq=20', {}, (m) => {
      const proof = m.audit.proof.bind(m.audit)
      m.audit.proof = (seq) => proof(seq === 20 ? 24 : seq)
    })
    await page.getByText('This is entry 24, not 20: what the server gave proves nothing of this one.').waitFor()
    await page.locator('aside').getByText('broken', { exact: true }).waitFor()
  })

  test('with a checkpoint that nobody known signed says so', async () => {
    const page = await open('#/audit?seq=20', {}, (m) => {
      const proof = m.audit.proof.bind(m.audit)
      m.audit.proof = (seq) => {
        const p = proof(seq)
        return p && { ...p, keys: [new History([]).key] }
      }
    })
    await page.getByText('signature bad').waitFor()
  })

  test('that is not signed yet is unknown, not proved', async () => {
    const page = await open('#/audit?seq=60', {}, (m) => {
      m.audit.signed = 40
    })
    await page.locator('aside').getByText('not signed yet').waitFor()
    await page.getByRole('button', { name: 'Verify now' }).click()
    await page.locator('aside').getByText('proved', { exact: true }).waitFor()
  })

  test('with hostile text is shown as it is, inert', async () => {
    const page = await open('#/audit?seq=1', {}, (m) => {
      m.audit = new History([
        { action: 'audit.create', actor: 'x', phase: 'note', subject: 'x' },
        { action: hostileText, actor: hostileText, phase: 'note', subject: hostileText, detail: { [hostileText]: hostileText, n: 1 } },
      ])
    })
    await page.locator('aside').getByText('proved', { exact: true }).waitFor()
    await page.locator('aside').getByText('⟨U+202E⟩').first().waitFor()
    expect(await page.locator('main img').count()).toBe(0)
    expect(await cut(page)).toEqual([])
  })
})

test.each<[string, Look]>([
  ['light, wide', { theme: 'light' }],
  ['dark, narrow', { theme: 'dark', width: 1024, height: 700 }],
])(
  'every state is accessible and whole: %s',
  async (_name, look) => {
    const page = await open('#/audit', look, (m) => m.audit.changed.set(20, (m.audit.leaves[20] ?? '').replace('warehouse', 'warehausf')))
    for (const hash of ['#/audit', '#/audit?seq=61', '#/audit?seq=20', '#/audit?seq=999', '#/audit?text=nowhere']) {
      await page.evaluate((h) => {
        location.hash = h
      }, hash)
      await page.locator('main [aria-busy=true]').first().waitFor({ state: 'detached' })
      expect(await violations(page), hash).toEqual([])
      expect(await cut(page), hash).toEqual([])
    }
    mock.down.add('/audit')
    await page.evaluate(() => {
      location.hash = '#/audit?actor=x'
    })
    await page.getByText('The entries could not be read').waitFor()
    expect(await violations(page)).toEqual([])
  },
  120_000,
)
