import { describe, expect, test } from 'vitest'
import { commands, Keys } from './commands'
import { format, home, loginCode, parse, type Route } from './route'

describe('the route', () => {
  test('comes back as it was', () => {
    const r: Route = {
      sel: 'path:public.a b>shop.a&b=c>sink:größe',
      edges: 'lag',
      range: '6h',
      q: 'is:late 100%',
      view: 'table',
      open: ['fold:topic:crm.public.*', 'fold:group:x'],
    }
    expect(parse(format(r))).toEqual(r)
  })
  test('what is usual is left out', () => {
    expect(format(home)).toBe('#/')
    expect(parse('')).toEqual(home)
  })
  test('nonsense is ignored', () => {
    expect(parse('#/?edges=__proto__&range=constructor&view=x')).toEqual(home)
  })
  test('a login link is no place', () => {
    expect(loginCode('#login=abc%2B')).toBe('abc+')
    expect(loginCode('#/?q=login=')).toBe('')
  })
})

describe('keys', () => {
  const press = (keys: Keys, key: string, now = 0, more = {}) =>
    keys.press({ key, ctrlKey: false, metaKey: false, altKey: false, target: null, ...more }, now)

  test('a sequence within a second', () => {
    const k = new Keys()
    expect(press(k, 'g', 0)).toBeNull()
    expect(press(k, 'm', 500)?.words).toContain('Map')
    expect(press(k, 'g', 5000)).toBeNull()
    expect(press(k, 'm', 6500)).toBeNull()
  })
  test('a broken sequence starts anew', () => {
    const k = new Keys()
    press(k, 'g', 0)
    expect(press(k, '?', 100)?.line).toBe('all keys')
  })
  test('typing is not commanding', () => {
    const input = document.createElement('input')
    expect(press(new Keys(), 't', 0, { target: input })).toBeNull()
    expect(press(new Keys(), 't', 0, { ctrlKey: true })).toBeNull()
  })
  test('no two commands want the same keys', () => {
    const all = commands.filter((c) => c.run).flatMap((c) => c.keys.map((k) => k.join(' ')))
    expect(new Set(all).size).toBe(all.length)
  })
})
