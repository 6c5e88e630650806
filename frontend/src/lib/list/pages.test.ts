import { describe, expect, test } from 'vitest'
import { Pages } from './pages.svelte'

const numbers = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i)
const settle = () => new Promise((r) => setTimeout(r, 0))

describe('pages', () => {
  test('fetch what comes into view once, and say the rows', async () => {
    const asked: number[] = []
    const p = new Pages<number>(
      1_000_000,
      async (from, to) => {
        asked.push(from)
        return numbers(from, to)
      },
      100,
    )
    p.need(950, 1050)
    p.need(960, 1060)
    await settle()
    expect(asked).toEqual([900, 1000])
    expect([p.get(950), p.get(1049), p.get(2000)]).toEqual([950, 1049, undefined])
  })
  test('hold so many pages and no more', async () => {
    const p = new Pages<number>(10_000, async (from, to) => numbers(from, to), 100, 3)
    for (const at of [0, 1000, 2000, 3000]) {
      p.need(at, at + 10)
      await settle()
    }
    expect(p.get(0)).toBeUndefined()
    expect(p.get(3005)).toBe(3005)
  })
  test('what was left behind is given up, and a failure is said', async () => {
    let aborted = 0
    const p = new Pages<number>(
      10_000,
      (from, to, signal) =>
        new Promise((resolve, reject) => {
          signal.addEventListener('abort', () => aborted++)
          if (from === 5000) resolve(numbers(from, to))
          if (from === 7000) reject(new Error('gone'))
        }),
      100,
    )
    p.need(0, 10)
    p.need(5000, 5010)
    await settle()
    expect(aborted).toBe(1)
    expect(p.get(5000)).toBe(5000)
    p.need(7000, 7010)
    await settle()
    expect(p.error).toBeInstanceOf(Error)
  })
})
