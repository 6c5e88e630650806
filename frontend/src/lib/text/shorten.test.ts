import { expect, test } from 'vitest'
import { shorten } from './shorten'

const eight = (text: string) => text.length * 8

test('as much as fits: of a name in parts the last ones, else both ends', () => {
  expect(shorten('shop.public.orders', 200, eight)).toBe('shop.public.orders')
  expect(shorten('shop.public.order_lines', 160, eight)).toBe('…public.order_lines')
  expect(shorten('shop.public.order_lines', 120, eight)).toBe('…order_lines')
  const cut = shorten('order_lines → warehouse', 120, eight)
  expect(cut.length * 8).toBeLessThanOrEqual(120)
  expect(cut).toBe('order_…arehouse')
})

test('however little room there is, both ends are there', () => {
  expect(shorten('shop.public.orders', 1, eight)).toMatch(/^s…s?.$/)
})
