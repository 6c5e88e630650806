import type { BrowserContext, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { violations } from '../driver/axe.ts'
import { closeBrowser, context, type Look, troubles } from '../driver/browser.ts'
import { Demo } from '../driver/demo.ts'
import { Keyboard } from '../driver/keyboard.ts'
import { cut } from '../driver/look.ts'
import type { Scenario } from '../driver/scenarios.ts'
import { Mock } from '../driver/server.ts'

afterAll(closeBrowser)

describe.skipIf(!Demo.built)('resend what was missed, and prove that it was', () => {
  const demo = new Demo()
  let ctx: BrowserContext
  let page: Page
  let wrong: string[] = []

  beforeAll(async () => {
    await demo.start()
    ctx = await context({ motion: 'reduce' })
    ctx.setDefaultTimeout(60_000)
    page = await ctx.newPage()
    wrong = troubles(page, demo.url)
    await page.goto(demo.link)
    await page.locator('[data-node="sink:warehouse"]').waitFor()
  }, 180_000)
  afterAll(async () => {
    await ctx?.close()
    await demo.stop()
  })

  const h1 = () => page.locator('main h1').first().innerText()

  test('with the mouse: two minutes of a topic, a filter, a sink, a dry run, an approval, a job, its entry proved', async () => {
    await page.getByRole('link', { name: 'Replay', exact: true }).first().click()
    await page.getByText('Nothing was planned or run yet.').waitFor()
    await page.getByRole('link', { name: 'Plan a replay…' }).first().click()

    await page.getByRole('combobox', { name: 'Topic' }).fill('public.orders')
    await page.getByRole('option', { name: /^shop\.public\.orders/ }).click()
    await page.getByRole('columnheader', { name: 'Holds from' }).waitFor()
    const now = new Date()
    const field = (ms: number) => {
      const text = new Intl.DateTimeFormat('sv-SE', { timeZone: 'Europe/Berlin', dateStyle: 'short', timeStyle: 'medium' }).format(ms)
      return text.replace(' ', 'T')
    }
    await page.getByLabel('From', { exact: true }).fill(field(now.getTime() - 120_000))
    await page.getByLabel('To, not included').first().fill(field(now.getTime()))
    expect(page.url()).toMatch(/since=[^&]+&until=/)
    await page.getByRole('button', { name: 'Shape' }).click()

    await page.getByRole('textbox', { name: 'Filter' }).fill('value.after.status ==')
    await page.getByText(/^Line 1, column/).waitFor()
    await page.getByRole('textbox', { name: 'Filter' }).fill('value.after.status == "paid"')
    await page.getByText(/^Tried on the newest/).waitFor()
    await page.getByLabel('Reason').fill('INC-4127')
    await page.getByRole('button', { name: 'Sink', exact: true }).click()
    await page.getByRole('radio', { name: /warehouse/ }).check()

    // Back restores each step with what was in it.
    await page.goBack()
    await page.goBack()
    expect(await page.getByRole('textbox', { name: 'Filter' }).inputValue()).toBe('value.after.status == "paid"')
    await page.goForward()
    await page.goForward()
    await page.getByRole('button', { name: 'Freeze the plan and dry-run it' }).click()

    await page.getByText('Some of them').waitFor()
    expect(await h1()).toMatch(/^If this is approved and run, it writes [\d,]+ records? to warehouse/)
    await page.getByText('There is no undo: what is written stays.').waitFor()
    await page.locator('td.fields button').first().click()
    await page.getByText('of table public.orders').waitFor()
    expect(await violations(page)).toEqual([])

    await page.getByRole('button', { name: /^Approve [0-9a-f]{8}…$/ }).click()
    await page.getByText(/^Signs the plan/).waitFor()
    await page.getByRole('button', { name: /^Approve [0-9a-f]{8}$/ }).click()
    await page
      .getByText(/self-approved/)
      .first()
      .waitFor()
    await page.getByRole('button', { name: /^Run [0-9a-f]{8}…$/ }).click()
    await page.getByRole('button', { name: /^Run [0-9a-f]{8}$/ }).click()

    await page.getByText(/^Done: [\d,]+ records? written to warehouse/).waitFor()
    expect(await page.getByText('it balances').count()).toBe(2)
    expect(await violations(page)).toEqual([])
    const entry = page.getByRole('link', { name: /^Entry \d+ and its proof$/ })
    await entry.first().click()
    await page.getByText('proved', { exact: true }).waitFor()
    await page.getByText('signature good').waitFor()
    expect(await page.locator('aside').innerText()).toContain('replay.execute')

    await page.getByRole('button', { name: 'Verify now' }).click()
    await page.getByText(/^All \d+ entries are intact\.$/).waitFor()
    expect(await violations(page)).toEqual([])
    await page.getByRole('link', { name: 'Open the job' }).click()
    await page.getByText(/^Done: /).waitFor()
  }, 300_000)

  test('by keyboard alone', async () => {
    const keys = new Keyboard(page)
    await keys.press('g', 'r')
    await page.getByRole('grid', { name: 'Plans and jobs' }).waitFor()
    await keys.press('n')
    await page.getByRole('combobox', { name: 'Topic' }).waitFor()
    await keys.tabTo(/^Topic/)
    await keys.type('public.payments')
    await page.getByRole('option', { name: /^shop\.public\.payments/ }).waitFor()
    await keys.press('Enter')
    await keys.tabTo(/^By time/)
    await keys.press('ArrowRight')
    await page.getByRole('checkbox').first().waitFor()
    await keys.tabTo(/^0/)
    await keys.press('Space')
    await keys.tabTo(/^Partition 0, to/)
    await keys.press('Control+a')
    await keys.type('200')
    await keys.press('Enter')
    await page.getByRole('textbox', { name: 'Filter' }).waitFor()
    await keys.tabTo(/^Key/)
    await keys.press('Enter')
    await page.getByRole('radio', { name: /warehouse/ }).waitFor()
    await keys.tabTo(/warehouse/)
    await keys.press('Space', 'Enter')
    await page.getByText('Some of them').waitFor()
    await keys.approveAndRun()
    await page.getByText(/^Done: 200 records written/).waitFor()
    await keys.tabTo(/^Entry \d+ and its proof/)
    await keys.press('Enter')
    await page.getByText('proved', { exact: true }).waitFor()
    await keys.press('Escape')
    await page.locator('aside').waitFor({ state: 'detached' })
    await keys.press('j', 'Enter')
    await page.getByText('proved', { exact: true }).waitFor()
  }, 300_000)

  test('what is planned and run is in the list', async () => {
    await page.getByRole('link', { name: 'Replay', exact: true }).first().click()
    await page.getByText('Nothing runs, and nothing waits for a person.').waitFor()
    await page.getByLabel(/^Filter by title/).fill('payments')
    await page.getByText('2 of 4').waitFor()
    expect(wrong).toEqual([])
  })
})

describe('states that cannot be had at will', () => {
  let mock: Mock
  let ctx: BrowserContext
  let wrong: string[] = []

  async function open(hash: string, look: Look = {}, scenario: Scenario = 'late', before?: (m: Mock) => void): Promise<Page> {
    mock = await new Mock(scenario).start()
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
  beforeEach(() => {
    wrong = []
  })
  afterEach(async () => {
    await ctx?.close()
    await mock?.stop()
    expect(wrong).toEqual([])
  })

  test('a gap is named exactly, and accepted with its effect said before', async () => {
    const page = await open('#/replay/jobs/jb_gap', {}, 'late', (m) => {
      const topic = m.world.topics['shop.public.orders']
      if (topic)
        topic.partitions = [0, 1, 2].map((partition) => ({
          partition,
          leader: 0,
          start: partition === 1 ? '9007199254752493' : '0',
          end: '9007199254799999',
        }))
    })
    await page.getByRole('heading', { level: 1, name: /The log no longer holds part of the range/ }).waitFor()
    await page.getByText('9,007,199,254,752,193 to 9,007,199,254,752,493').waitFor()
    await page.getByRole('button', { name: 'Accept the gap and go on…' }).click()
    await page.getByText('Counts 300 offsets as lost, for good').waitFor()
    await page.getByRole('button', { name: 'Accept the gap and go on', exact: true }).click()
    await page.getByText(/of work left at the present rate/).waitFor()
    expect(mock.acts.at(-1)?.body).toEqual({ reason: '', accept_gaps: ['1:9007199254752193-9007199254752493'] })
  })

  test('counts that do not balance are said, with the side and by how much', async () => {
    const page = await open('#/replay/jobs/jb_broken')
    await page.getByText('The counts do not balance: 5 of seen have no outcome.').waitFor()
    await page.getByText('does not balance').first().waitFor()
  })

  test('what was set aside opens in Messages, at its place', async () => {
    const page = await open('#/replay/jobs/jb_exceptions')
    await page.getByText('Done, with exceptions: 2 records set aside, 2 in doubt.').waitFor()
    await page.getByText('23503 orders_customer_id_fkey').waitFor()
    expect(await page.getByRole('link', { name: '1:9007199254751993' }).getAttribute('href')).toBe(
      '#/topics/shop.public.orders/messages?from=1%3A9007199254751993&open=1%3A9007199254751993',
    )
  })

  test('pause, lower the cap, cancel: the effect first, then the request', async () => {
    const page = await open('#/replay/jobs/jb_running')
    await page.getByLabel('Lower it to, rec/s').fill('900')
    await page.getByText('it only goes down; up needs another plan').waitFor()
    await page.getByLabel('Lower it to, rec/s').fill('50')
    await page.getByRole('button', { name: 'Lower the cap to 50 rec/s…' }).click()
    await page.getByRole('button', { name: 'Lower the cap to 50 rec/s', exact: true }).click()
    await expect.poll(() => mock.acts.at(-1)).toMatchObject({ path: '/api/replay/jobs/jb_running/resume', body: { rate: 50 } })
    await page.getByRole('button', { name: 'Pause it…' }).click()
    await page.getByText('Ends the batch at hand, then waits. 4,238 offsets stay to be done.').waitFor()
    await page.getByLabel('Why, for the audit').fill('lunch')
    await page.getByRole('button', { name: 'Pause it', exact: true }).click()
    await page.getByText(/^Paused: 7,762 of 12,000 offsets are done\./).waitFor()
    await page.getByRole('button', { name: 'Cancel it…' }).click()
    await page.getByText(/It undoes nothing\.$/).waitFor()
    await page.getByRole('button', { name: 'Cancel it', exact: true }).click()
    await page.getByText(/^Cancelled: /).waitFor()
    expect(await page.getByRole('button', { name: 'Save the report' }).isVisible()).toBe(true)
  })

  test('in production the sink’s name is typed before anything is signed', async () => {
    const page = await open('#/replay/plans/pl_4t2lcek6tcv3zg4lerj5', {}, 'production')
    await page.getByText('Who made the plan does not approve it.').waitFor()
    await page.getByRole('button', { name: 'Approve e4f4810c…' }).click()
    const go = page.getByRole('button', { name: 'Approve e4f4810c', exact: true })
    expect(await go.isDisabled()).toBe(true)
    await page.getByLabel(/This is production/).fill('warehouse')
    await go.click()
    await page.getByRole('button', { name: 'Run e4f4810c…' }).waitFor()
    expect(mock.acts.at(-1)?.body).toMatchObject({ hash: mock.replay.plans.pl_4t2lcek6tcv3zg4lerj5?.plan_hash })
  })

  test('a link has no effect: the dry run begins only where the plan was made', async () => {
    const page = await open('#/replay/plans/pl_planned')
    await page.getByText('Nothing is known yet of what this would write to warehouse.').waitFor()
    expect(mock.acts.filter((a) => a.path.endsWith('/dry-run'))).toEqual([])
    await page.getByRole('button', { name: 'Dry run' }).first().click()
    await page.getByText('Some of them').waitFor()
  })

  test('what fails says so beside what is held, and comes back', async () => {
    const page = await open('#/replay', {}, 'late', (m) => m.down.add('/replay'))
    await page.getByText('Plans and jobs could not be read').waitFor()
    mock.down.clear()
    await page.getByRole('button', { name: 'Try again' }).click()
    await page.getByText(/wait for a person/).waitFor()
    mock.down.add('/replay')
    await page.keyboard.press('.')
    await page.getByText('It could not be read again; what is shown is older').waitFor()
    await page.getByText('blocked, goes on by itself').waitFor()
  })

  const states: [string, string][] = [
    ['the list', '#/replay'],
    ['a range by time', '#/replay/new?source=embedded%2Fshop.public.orders&since=2026-07-14T12:00:00.000Z'],
    ['a range by offsets', '#/replay/new?source=embedded%2Fshop.public.orders&offsets=0%3A100-2000'],
    ['a shape', '#/replay/new?step=shape&source=embedded%2Fshop.public.orders&filter=f('],
    ['a sink', '#/replay/new?step=sink&source=embedded%2Fshop.public.orders&to=warehouse'],
    ['a plan', '#/replay/plans/pl_4t2lcek6tcv3zg4lerj5'],
    ['a plan with warnings', '#/replay/plans/pl_warned'],
    ['a plan approved', '#/replay/plans/pl_approved'],
    ['a plan that cannot be read', '#/replay/plans/pl_unread'],
    ['a hostile plan', '#/replay/plans/pl_hostile'],
    ['no such plan', '#/replay/plans/pl_none'],
    ['a job', '#/replay/jobs/jb_running'],
    ['a job with exceptions', '#/replay/jobs/jb_exceptions'],
    ['a blocked job', '#/replay/jobs/jb_down'],
    ['a job that does not balance', '#/replay/jobs/jb_broken'],
    ['a hostile job', '#/replay/jobs/jb_hostile'],
    ['a huge job', '#/replay/jobs/jb_huge'],
  ]
  test.each<[string, Look]>([
    ['light, wide', { theme: 'light' }],
    ['dark, narrow', { theme: 'dark', width: 1024, height: 700 }],
  ])(
    'every state is accessible and whole: %s',
    async (_name, look) => {
      const page = await open('#/replay', look)
      for (const [name, hash] of states) {
        await page.evaluate((h) => {
          location.hash = h
        }, hash)
        await page.locator('main h1').first().waitFor()
        await page.locator('main [aria-busy=true]').first().waitFor({ state: 'detached' })
        expect(await violations(page), name).toEqual([])
        expect(await cut(page), name).toEqual([])
      }
    },
    300_000,
  )
})
