import { mkdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, test } from 'vitest'
import { closeBrowser, context, type Look } from '../driver/browser.ts'
import type { Scenario } from '../driver/scenarios.ts'
import { Mock } from '../driver/server.ts'

// Pictures of every state, to be looked at by a person: npm run screenshots, then test-artifacts/.

const out = fileURLToPath(new URL('../../../test-artifacts/', import.meta.url))

const shots: { name: string; scenario: Scenario; hash?: string; look?: Look }[] = [
  { name: 'late', scenario: 'late' },
  { name: 'late-dark', scenario: 'late', look: { theme: 'dark' } },
  { name: 'late-path', scenario: 'late', hash: '#/?sel=path:public.orders>shop.public.orders>sink:warehouse' },
  {
    name: 'late-path-dark',
    scenario: 'late',
    hash: '#/?sel=path:public.orders>shop.public.orders>sink:warehouse',
    look: { theme: 'dark' },
  },
  { name: 'late-narrow', scenario: 'late', look: { width: 1024, height: 700 } },
  { name: 'late-narrow-sheet-dark', scenario: 'late', hash: '#/?sel=sink:warehouse', look: { width: 1024, height: 700, theme: 'dark' } },
  { name: 'production', scenario: 'production', hash: '#/?sel=sink:warehouse' },
  { name: 'healthy', scenario: 'healthy' },
  { name: 'source', scenario: 'late', hash: '#/?sel=source:shop' },
  { name: 'group', scenario: 'late', hash: '#/?sel=group:analytics&edges=lag' },
  { name: 'topic', scenario: 'late', hash: '#/?sel=topic:shop.public.orders&edges=rate' },
  { name: 'paused', scenario: 'paused', hash: '#/?sel=sink:warehouse' },
  { name: 'dead', scenario: 'dead' },
  { name: 'unknown', scenario: 'unknown', look: { theme: 'dark' } },
  { name: 'huge', scenario: 'huge' },
  { name: 'huge-filtered', scenario: 'huge', hash: '#/?q=ledger' },
  { name: 'empty', scenario: 'empty' },
  { name: 'hostile', scenario: 'hostile' },
  { name: 'table', scenario: 'late', hash: '#/?view=table' },
]

describe('pictures', () => {
  mkdirSync(out, { recursive: true })
  afterAll(closeBrowser)

  for (const s of shots) {
    test(s.name, async () => {
      const mock = await new Mock(s.scenario).start()
      const ctx = await context({ motion: 'reduce', ...s.look })
      const page = await ctx.newPage()
      await page.goto(mock.link)
      await page.locator('main h1').first().waitFor({ state: 'attached' })
      if (s.hash)
        await page.evaluate((h) => {
          location.hash = h
        }, s.hash)
      await page.waitForTimeout(700)
      await page.screenshot({ path: `${out}${s.name}.png` })
      await ctx.close()
      await mock.stop()
    })
  }

  test('signed out, stopped, keys', async () => {
    const mock = await new Mock('late').start()
    const ctx = await context({ motion: 'reduce' })
    const page = await ctx.newPage()
    await page.goto(`${mock.url}/#login=used`)
    await page.getByText('This link was used').waitFor()
    await page.screenshot({ path: `${out}signed-out.png` })
    await page.goto('about:blank')
    await page.goto(mock.link)
    await page.locator('[data-node]').first().waitFor()
    await page.keyboard.press('?')
    await page.screenshot({ path: `${out}keys.png` })
    await page.keyboard.press('Escape')
    await mock.stop()
    await page.getByText('What is shown is').waitFor()
    await page.screenshot({ path: `${out}stopped.png` })
    await ctx.close()
  })
})
