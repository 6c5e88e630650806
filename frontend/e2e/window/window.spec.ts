import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Demo } from '../driver/demo.ts'
import { DesktopWindow, lacking, program, Screen, until } from './driver.ts'

const run = promisify(execFile)
const proof = process.env.FRESHET_PROOF !== undefined
/** How long the window is left alone before its memory is looked at: a proof says how long. */
const minutes = Number(process.env.PROOF_MINUTES ?? 0)
if (lacking.length > 0) console.error(`THE WINDOW IS NOT TESTED: this machine lacks ${lacking.join(', ')}`)

// Opens the real window, in the real web view, on the directory of a demo that runs.
describe.skipIf(lacking.length > 0 || !Demo.built)('the window of a running demo', () => {
  const demo = new Demo()
  const screen = new Screen()
  const window = new DesktopWindow(screen)
  let began = 0
  const place = () => JSON.parse(readFileSync(join(demo.dir, 'window.json'), 'utf8'))

  beforeAll(async () => {
    await Promise.all([demo.start(), screen.start()])
    writeFileSync(join(demo.dir, 'window.json'), JSON.stringify({ v: 1, x: 60, y: 40, width: 1200, height: 800, maximised: false }))
    began = Date.now()
    await window.open('--data', demo.dir, 'freshet://open#/?edges=rate')
  })
  afterAll(async () => {
    await window.close()
    await demo.stop()
    await screen.stop()
  })

  test('it opens at the link, where it stood, and shows the live Map of the instance that runs', async () => {
    await until('the sink on the map', () => window.js<boolean>(`return !!document.querySelector('[data-node="sink:warehouse"]')`))
    const seconds = (Date.now() - began) / 1000
    const drawn = await window.js<number>(
      `return performance.timeOrigin + performance.getEntriesByName('first-contentful-paint')[0].startTime`,
    )
    console.log(
      `the window: first words after ${((drawn - began) / 1000).toFixed(2)} s, the Map seen by the driver after ${seconds.toFixed(2)} s, ${window.pss().toFixed(0)} MB`,
    )
    if (proof) expect(seconds).toBeLessThan(2)
    expect(await window.js('return location.hash')).toBe('#/?edges=rate')
    const own = JSON.parse(await demo.freshet('clusters', 'list', '-o', 'json'))
    expect((await window.api<typeof own>('/api/clusters')).items[0].brokers).toEqual(own.items[0].brokers)
    const asOf = async () => (await window.api<{ as_of: string }>('/api/map')).as_of
    const first = await asOf()
    await until('a younger map', async () => (await asOf()) > first)
    await until('Live', () => window.js<boolean>(`return /Live data:\\s*Live/.test(document.body.textContent)`))
    expect(await screen.xdotool('getwindowgeometry', '--shell', await screen.front('Freshet'))).toMatch(
      /X=60\nY=40\nWIDTH=1200\nHEIGHT=800/,
    )
  })

  test.skipIf(minutes === 0)(
    'left on the live Map, it stays small',
    async () => {
      const sizes = [window.pss()]
      for (let i = 0; i < minutes; i++) {
        await new Promise((resolve) => setTimeout(resolve, 60_000))
        sizes.push(window.pss())
      }
      console.log(`the window, minute by minute: ${sizes.map((s) => s.toFixed(0)).join(', ')} MB`)
      expect(sizes.at(-1)).toBeLessThan(300)
    },
    minutes * 60_000 + 60_000,
  )

  test('a command of its menus is the same command as the key’s', async () => {
    await window.js(`addEventListener('freshet-command', (e) => { document.body.dataset.commanded = e.detail }, { once: true })`)
    // A click opens the first menu, which has the keys then; View is the third.
    const id = await screen.front('Freshet')
    await screen.xdotool('mousemove', '--window', id, '20', '12', 'click', '1')
    await screen.xdotool('key', '--delay', '100', 'Right', 'Right', 'Down', 'Return')
    const commands = JSON.parse(readFileSync(new URL('../../commands.json', import.meta.url), 'utf8')) as { id: string; menu?: string }[]
    const got = await until('the command in the page', () => window.js<string>('return document.body.dataset.commanded'))
    expect(got).toBe(commands.find((c) => c.menu === 'View')?.id)
    await window.js(`dispatchEvent(new CustomEvent('freshet-command', { detail: 'go.map' }))`)
    await until('the Map as it opens', () => window.js<boolean>(`return location.hash === '#/'`))
  })

  test('a second start brings it to the front, at its link, and ends well', async () => {
    await run(program, ['desktop', '--data', demo.dir, 'freshet://open#/?view=table'], { env: screen.env })
    await until('the link of the second start', () => window.js<boolean>(`return location.hash === '#/?view=table'`))
    expect(await run(program, ['desktop', '--data', demo.dir, 'https://example.org'], { env: screen.env }).catch((e) => e.code)).toBe(2)
    expect(await window.js('return location.hash')).toBe('#/?view=table')
  })

  test('the history is exported through the desktop’s own dialog, whole, and verifies', async () => {
    const folder = join(screen.dir, 'exports')
    mkdirSync(folder)
    const file = join(folder, 'history of the shop.jsonl')
    const save = (path: string) => window.api<Record<string, string>>('/api/window/save', { path, query: '', name: 'freshet-audit.jsonl' })
    const answer = async (...keys: string[][]) => {
      await screen.front('Save')
      for (const k of keys) await screen.xdotool(...k)
    }
    const typed = (path: string) => [
      ['key', 'ctrl+a'],
      ['type', '--delay', '5', path],
      ['key', 'Return'],
    ]

    const saving = save('/api/audit/export')
    await answer(...typed(file))
    const saved = await saving
    const content = readFileSync(file)
    expect(saved).toMatchObject({ v: 1, kind: 'window.saved', file, bytes: `${content.length}` })
    expect(readdirSync(folder)).toEqual(['history of the shop.jsonl'])
    const verified = JSON.parse(await demo.freshet('audit', 'verify', file, '-o', 'json'))
    expect(verified.ok).toBe(true)

    // What is no success leaves no file, and says why.
    const failing = save('/api/audit/none/proof')
    await answer(...typed(join(folder, 'none')))
    expect(await failing).toMatchObject({ kind: 'error' })
    const cancelling = save('/api/audit/export')
    await answer(['key', 'Escape'])
    expect(await cancelling).toEqual({ v: 1, kind: 'window.saved', cancelled: true })
    expect(readdirSync(folder)).toEqual(['history of the shop.jsonl'])
  })

  test('a replay, from the topic to the report', async () => {
    const button = (name: string) => `//button[starts-with(normalize-space(), "${name}")]`
    await window.click('//nav//a[contains(., "Replay")]')
    await window.click('//a[contains(., "Plan a replay…")]')
    await window.type('//input[@role="combobox"]', 'public.orders')
    await window.click('//*[@role="option"][contains(., "shop.public.orders")]')
    await window.click(button('Shape'))
    await window.click(button('Sink'))
    await window.click('//label[contains(., "warehouse")]//input[@type="radio"] | //*[@role="radio"][contains(., "warehouse")]')
    await window.click(button('Freeze the plan and dry-run it'))
    for (const step of ['Approve', 'Run']) {
      await window.click(`//button[starts-with(normalize-space(), "${step} ") and contains(., "…")]`)
      await window.click(`//form//button[starts-with(normalize-space(), "${step} ")]`)
    }
    expect(await window.see('//main//h1[starts-with(normalize-space(), "Done")]')).toMatch(/^Done: [\d,]+ records? written to warehouse/)
    console.log(`the window, after menus, dialogs and a replay: ${window.pss().toFixed(0)} MB`)
    await window.js(`location.hash = '#/'`)
  }, 120_000)

  test('what only the window has, a browser’s page does not', async () => {
    expect(await window.api('/api/window')).toMatchObject({ v: 1, kind: 'window', platform: 'linux' })
    const run = JSON.parse(readFileSync(join(demo.dir, 'run.json'), 'utf8'))
    const token = readFileSync(join(demo.dir, 'token'), 'utf8').trim()
    const there = await fetch(`${run.url}/api/window`, { headers: { Authorization: `Bearer ${token}` } })
    expect([there.status, ((await there.json()) as { code: string }).code]).toEqual([404, 'NOT_FOUND'])
  })

  test('an instance that is started again is shown again', async () => {
    await demo.down()
    await demo.up()
    await until('the new instance', async () => (await window.api<{ kind: string }>('/api/map')).kind === 'map')
    await until('Live', () => window.js<boolean>(`return /Live data:\\s*Live/.test(document.body.textContent)`))
  })

  test('it ends without the instance, keeps its place, and complained of nothing', async () => {
    expect(await window.close()).toBe(0)
    expect(place()).toEqual({ v: 1, x: 60, y: 40, width: 1200, height: 800, maximised: false })
    expect(existsSync(join(demo.dir, 'window.sock'))).toBe(false)
    expect(await demo.freshet('status')).toContain('broker')
    const complaints = window.said.split('\n').filter((line) => /CONSOLE .*ERROR|panic|level=ERROR/.test(line))
    expect(complaints.filter((line) => !/Failed to load resource/.test(line))).toEqual([])
  })
})
