import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { BrowserContext, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { violations } from '../driver/axe.ts'
import { closeBrowser, context, type Look, troubles } from '../driver/browser.ts'
import { Demo } from '../driver/demo.ts'
import { Mock } from '../driver/server.ts'

afterAll(closeBrowser)

describe('the first steps, in states that cannot be had live', () => {
  let mock: Mock
  let ctx: BrowserContext
  afterEach(async () => {
    await ctx.close()
    await mock.stop()
  })

  async function open(demo: object, look: Look = {}): Promise<Page> {
    mock = await new Mock('empty').start()
    mock.says.set('GET /api/demo', { v: 1, kind: 'demo', may_start: false, ...demo })
    ctx = await context({ motion: 'reduce', ...look })
    const page = await ctx.newPage()
    await page.goto(mock.link)
    await page.getByRole('heading', { name: 'What Freshet never does' }).waitFor()
    return page
  }

  test('where the demo may not start, it is said why, and what to do instead', async () => {
    const page = await open({
      state: 'none',
      why_not: 'this instance runs by /etc/freshet.yaml: `freshet demo --data DIR` starts it in a directory of its own',
    })
    await page.getByText('this instance runs by /etc/freshet.yaml').waitFor()
    expect(await page.getByRole('button', { name: 'Start the demo' }).count()).toBe(0)
  })

  test('a start that failed says why, what to do, and may be tried again', async () => {
    const page = await open({ state: 'failed', detail: 'no space left on device', needs: 'make room', may_start: true })
    await page.getByRole('alert').getByText('no space left on device').waitFor()
    await page.getByRole('alert').getByText('make room').waitFor()
    await page.getByRole('button', { name: 'Start it again' }).waitFor()
  })

  test.each(['light', 'dark'] as const)('axe, %s', async (theme) => {
    const page = await open({ state: 'starting', detail: 'fetching PostgreSQL, 40 %' }, { theme })
    await page.getByRole('status').getByText('fetching PostgreSQL, 40 %').waitFor()
    expect(await violations(page)).toEqual([])
    await page.getByRole('link', { name: /^Connect/ }).click()
    await page.getByRole('heading', { name: 'Test, stage by stage' }).waitFor()
    expect(await violations(page)).toEqual([])
    await page.setViewportSize({ width: 1024, height: 700 })
    expect(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth)).toBe(true)
    expect(await violations(page)).toEqual([])
  })
})

describe.skipIf(!Demo.built)('connections that other tools have', () => {
  const home = mkdtempSync(join(tmpdir(), 'freshet-home-'))
  const conf = join(home, '.config/kcat.conf')
  const served = new Demo('empty', { HOME: home, XDG_CONFIG_HOME: '', KCAT_CONFIG: '', KAFKACAT_CONFIG: '', KAFKA_CTL_CONFIG: '' })
  const password = 'planted-e2e-5512'
  let ctx: BrowserContext
  afterEach(() => ctx?.close())
  beforeAll(async () => void (await served.start()), 60_000)
  afterAll(async () => {
    await served.stop()
    rmSync(home, { recursive: true, force: true })
  })

  async function open(look: Look = {}): Promise<{ page: Page; wrong: string[]; heard: string[] }> {
    ctx = await context({ motion: 'reduce', ...look })
    const page = await ctx.newPage()
    const wrong = troubles(page, served.url)
    const heard: string[] = []
    page.on('response', (r) => {
      if (r.url().includes('/api/connections')) void r.text().then((t) => heard.push(t))
    })
    await page.goto(/http\S+/.exec(await served.freshet('open'))?.[0] ?? '')
    await page.getByRole('link', { name: /^Import/ }).click()
    await page.getByRole('heading', { name: 'Another file, or its text' }).waitFor()
    return { page, wrong, heard }
  }

  test('with none there, it is said where was looked, and text may be pasted', async () => {
    const { page } = await open()
    await page.getByRole('region', { name: 'None was found' }).getByText(conf).waitFor()
    expect(await violations(page)).toEqual([])
    await page.getByLabel('or paste what it says').fill('hello: world')
    await page.getByRole('button', { name: 'Read it' }).click()
    await page.getByRole('alert').getByText('no connection was found in it').waitFor()
    await page.getByLabel('or paste what it says').fill('contexts:\n  staging:\n    brokers: [staging:9092]\n')
    await page.keyboard.press('Tab')
    await page.keyboard.press('Enter')
    await page.getByRole('button', { name: 'Use it: staging of kafkactl' }).press('Enter')
    await page.getByRole('heading', { name: 'Test, stage by stage' }).waitFor()
    expect(await page.getByLabel('Brokers').inputValue()).toBe('staging:9092')
  }, 60_000)

  test.each(['light', 'dark'] as const)(
    'a kcat.conf is listed, chosen, and tested with the password it keeps, %s',
    async (theme) => {
      mkdirSync(join(home, '.config'), { recursive: true })
      writeFileSync(
        conf,
        `bootstrap.servers=127.0.0.1:1\nsecurity.protocol=SASL_PLAINTEXT\nsasl.mechanisms=PLAIN\nsasl.username=me\nsasl.password=${password}\nschema.registry.url=http://127.0.0.1:2\n`,
      )
      const { page, wrong, heard } = await open({ theme })
      await page.getByRole('region', { name: 'kcat' }).getByText('its schema registry').waitFor()
      expect(await violations(page)).toEqual([])
      await page.setViewportSize({ width: 1024, height: 700 })
      expect(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth)).toBe(true)
      await page.getByRole('button', { name: 'Use it: kcat of kcat' }).click()
      await page.getByText('kept on the server, from').waitFor()
      await page.getByText('It is not saved yet').waitFor()
      expect(await violations(page)).toEqual([])
      await page.getByRole('button', { name: 'Test it' }).click()
      await page.locator('h1').getByText('kcat cannot be used: TCP failed').waitFor({ timeout: 30_000 })
      expect(heard.length).toBeGreaterThan(0)
      expect(heard.join('') + page.url() + (await page.content())).not.toContain(password)
      expect(JSON.parse(await served.freshet('clusters', 'list', '-o', 'json')).items).toHaveLength(1)
      expect(wrong).toEqual([])
    },
    60_000,
  )
})

describe.skipIf(!Demo.built)('an instance with nothing in it', () => {
  const served = new Demo('empty')
  let ctx: BrowserContext
  let page: Page
  let wrong: string[] = []
  beforeAll(async () => {
    await served.start()
    ctx = await context()
    page = await ctx.newPage()
    wrong = troubles(page, served.url)
    await page.goto(served.link)
  }, 60_000)
  afterAll(async () => {
    await ctx?.close()
    await served.stop()
  })

  test('the Map is the three doors, and a connection that fails is told stage by stage', async () => {
    await page.locator('h1').getByText('Nothing is connected yet').waitFor()
    expect(await violations(page)).toEqual([])
    await page.getByRole('link', { name: /^Connect/ }).click()
    await page.getByLabel('Name').fill('nobody')
    await page.getByLabel('Brokers').fill('127.0.0.1:1')
    await page.getByRole('button', { name: 'Test it' }).click()
    await page.locator('h1').getByText('nobody cannot be used: TCP failed').waitFor({ timeout: 30_000 })
    await page.getByText('not tried: tcp failed').first().waitFor()
    expect(await violations(page)).toEqual([])
  }, 60_000)

  test('demo: one button, progress in words, and then the Map', async () => {
    await page.getByRole('link', { name: /^Demo/ }).click()
    await page.getByRole('button', { name: 'Start the demo' }).click()
    await page.getByRole('heading', { name: 'Starting', exact: true }).waitFor()
    await page.locator('[data-node="sink:warehouse"]').waitFor({ timeout: 180_000 })
    await page.getByText('Break something').waitFor()
  }, 240_000)

  test('nothing went wrong on the way', () => {
    expect(wrong).toEqual([])
  })
})
