import { expect, test } from 'vitest'
import { shorten } from './shorten'

const eight = (text: string) => text.length * 8

test('as much as fits, and both ends of it', () => {
  expect(shorten('shop.public.orders', 200, eight)).toBe('shop.public.orders')
  const cut = shorten('shop.public.order_lines', 120, eight)
  expect(cut.length * 8).toBeLessThanOrEqual(120)
  expect(cut).toBe('shop.p…er_lines')
})

test('however little room there is, both ends are there', () => {
  expect(shorten('shop.public.orders', 1, eight)).toMatch(/^s…s?.$/)
})
