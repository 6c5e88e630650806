import { expect, test } from 'vitest'
import { askAgain, Detail } from './detail.svelte'

const settle = () => new Promise((r) => setTimeout(r, 0))

test('what failed is asked again at once when the server is back, and what is there is left alone', async () => {
  let away = true
  const asked = { failing: 0, held: 0, gone: 0 }
  const load = (name: keyof typeof asked, fails: boolean) => async () => {
    asked[name]++
    if (fails && away) throw new Error('away')
    return name
  }
  const failing = new Detail(load('failing', true), 3_600_000)
  const held = new Detail(load('held', false), 3_600_000)
  const gone = new Detail(load('gone', true), 3_600_000)
  const stop = [failing.run(), held.run()]
  gone.run()()
  await settle()
  expect(failing.error).toBeInstanceOf(Error)
  away = false
  askAgain()
  await settle()
  expect([failing.data, failing.error]).toEqual(['failing', null])
  expect(asked).toEqual({ failing: 2, held: 1, gone: 1 })
  for (const s of stop) s()
})
