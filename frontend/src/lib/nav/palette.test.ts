import { describe, expect, test } from 'vitest'
import { type Entry, found, score } from './palette'

const entry = (kind: string, name: string, note = ''): Entry => ({ id: `${kind}:${name}`, kind, name, note, go: () => {} })
const all = [
  entry('screen', 'Topics'),
  entry('topic', 'shop.public.orders'),
  entry('topic', 'shop.public.order_items'),
  entry('group', 'orders-loader'),
  entry('command', 'go to Topics'),
]
const names = (typed: string) => found(all, typed, 10).map((e) => e.name)

describe('the palette', () => {
  test('finds by any part, in any order', () => {
    expect(names('orders public')).toEqual(['shop.public.orders'])
    expect(names('nothing like it')).toEqual([])
  })
  test('what begins with the words comes first', () => {
    expect(names('orders')[0]).toBe('orders-loader')
    expect(names('topics')[0]).toBe('Topics')
  })
  test('the kind is found by too', () => {
    expect(names('group')).toEqual(['orders-loader'])
  })
  test('nothing typed: all in their order, so many', () => {
    expect(found(all, '  ', 2).map((e) => e.name)).toEqual(['Topics', 'shop.public.orders'])
  })
  test('what is typed is text, not a pattern', () => {
    expect(score('a.b', ['.*'])).toBe(0)
    expect(names('(((')).toEqual([])
  })
})
