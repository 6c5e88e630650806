import type { BrowserContext, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { closeBrowser, context, troubles } from '../driver/browser.ts'
import { Demo } from '../driver/demo.ts'
import { Serve } from '../driver/serve.ts'

// A million records of one partition, scrolled through. What is counted is asserted; times are printed, and asserted as
// proof alone, since machines differ: FRESHET_PROOF=1.

const records = 1_000_000
const proof = process.env.FRESHET_PROOF !== undefined

function* orders(): Generator<string> {
  for (let i = 0; i < records; i++)
    yield `{"id":${i}}\t{"before":null,"after":{"id":${i},"status":"${['placed', 'paid', 'shipped'][i % 3]}","total_cents":${(i * 7919) % 1e6},"note":"order ${i}"},"source":{"ts_ms":1790000000000},"op":"c","ts_ms":1790000000000}`
}

interface Measured {
  frames: number[]
  longest: number
  rows: number
}

/** Scrolls by so many pixels a frame, for so many frames, and says what happened. */
function scroll(page: Page, step: number, frames: number, jump: boolean): Promise<Measured> {
  return page.evaluate(
    ({ step, frames, jump }) =>
      new Promise<Measured>((resolve) => {
        const grid = document.querySelector('[role=grid]') as HTMLElement
        const out: Measured = { frames: [], longest: 0, rows: 0 }
        const tasks = new PerformanceObserver((l) => {
          for (const t of l.getEntries()) out.longest = Math.max(out.longest, t.duration)
        })
        tasks.observe({ entryTypes: ['longtask'] })
        let last = performance.now()
        let n = 0
        const frame = (now: number) => {
          out.frames.push(now - last)
          last = now
          out.rows = Math.max(out.rows, grid.querySelectorAll('[role=row]').length)
          if (n++ >= frames) {
            tasks.disconnect()
            resolve(out)
            return
          }
          if (jump) grid.scrollTop = ((n * 37 + frames / 2) % frames) * (grid.scrollHeight / frames)
          else grid.dispatchEvent(new WheelEvent('wheel', { deltaY: step, cancelable: true, bubbles: true }))
          requestAnimationFrame(frame)
        }
        requestAnimationFrame(frame)
      }),
    { step, frames, jump },
  )
}

describe.skipIf(!Demo.built)('a million records', () => {
  const serve = new Serve()
  let ctx: BrowserContext
  let page: Page
  let wrong: string[] = []

  beforeAll(async () => {
    await serve.start()
    await serve.produce('million', 1, orders())
    ctx = await context()
    page = await ctx.newPage()
    wrong = troubles(page, serve.url)
    await page.goto(await serve.link())
    await page.locator('main h1').first().waitFor({ state: 'attached' })
    await page.evaluate(() => {
      location.hash = '#/topics/million/messages?from=oldest'
    })
    await page.getByRole('row').filter({ hasText: 'order 3' }).first().waitFor({ timeout: 60_000 })
  }, 300_000)
  afterAll(async () => {
    await ctx?.close()
    await closeBrowser()
    await serve.stop()
  })

  test('every one is a row, and both ends are in reach', async () => {
    const grid = page.getByRole('grid')
    expect(await grid.getAttribute('aria-rowcount')).toBe(`${records + 1}`)
    await grid.focus()
    await page.keyboard.press('End')
    await page.getByRole('row', { name: '999,999' }).waitFor()
    await page.keyboard.press('Home')
    await page.getByRole('row').filter({ hasText: '"id":3' }).first().waitFor()
  })

  test('it scrolls smoothly, with few elements and little memory', async () => {
    const cdp = await ctx.newCDPSession(page)
    // The time that the page's own thread was at work, which other programs on the machine do not stretch.
    await cdp.send('Performance.enable', { timeDomain: 'threadTicks' })
    const metrics = async () => Object.fromEntries((await cdp.send('Performance.getMetrics')).metrics.map((m) => [m.name, m.value]))
    const runs: Record<string, Measured & { script: number }> = {}
    for (const [name, step, frames, jump] of [
      ['reading', 40, 120, false],
      ['fast', 900, 120, false],
      ['jumping', 0, 60, true],
      ['back', -900, 120, false],
    ] as const) {
      const before = await metrics()
      const m = await scroll(page, step, frames, jump)
      const after = await metrics()
      runs[name] = { ...m, script: (((after.ScriptDuration ?? 0) - (before.ScriptDuration ?? 0)) * 1000) / m.frames.length }
    }
    // What flew past is fetched where it comes to rest.
    await page.locator('[role=row] [aria-busy=true]').first().waitFor({ state: 'detached', timeout: 30_000 })
    await cdp.send('HeapProfiler.collectGarbage')
    const heap = ((await metrics()).JSHeapUsedSize ?? 0) / 1e6
    const p95 = (all: number[]) => [...all].sort((a, b) => a - b)[Math.floor(all.length * 0.95)] ?? 0
    for (const [name, m] of Object.entries(runs))
      console.log(
        `${name}: ${m.rows} rows drawn at most, frame p95 ${p95(m.frames).toFixed(1)} ms, script ${m.script.toFixed(2)} ms a frame, longest task ${m.longest.toFixed(0)} ms`,
      )
    console.log(`heap ${heap.toFixed(1)} MB`)
    expect(heap).toBeLessThan(150)
    for (const m of Object.values(runs)) {
      expect(m.rows).toBeLessThanOrEqual(80)
      if (!proof) continue
      expect(p95(m.frames)).toBeLessThanOrEqual(50)
      expect(m.script).toBeLessThanOrEqual(6)
      expect(m.longest).toBeLessThanOrEqual(200)
    }
  }, 300_000)

  test('nothing went wrong on the way', () => {
    expect(wrong).toEqual([])
  })
})
