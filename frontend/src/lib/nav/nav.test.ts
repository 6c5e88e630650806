import { describe, expect, test } from 'vitest'
import { readMapRoute, wholeMap } from '../map/route'
import { commands, Keys } from './commands'
import { fixedRange, readRange, stepped } from './range'
import { changed, format, home, loginCode, parse } from './route'
import { pathTo, screenAt, screens } from './screens'

describe('the route', () => {
  test('comes back as it was', () => {
    const r = parse(format({ path: ['topics', 'a/b c%?#größe'], query: { q: ['is:late 100%'], open: ['x', 'y&z=1'] } }))
    expect(r.path).toEqual(['topics', 'a/b c%?#größe'])
    expect({ ...r.query }).toEqual({ q: ['is:late 100%'], open: ['x', 'y&z=1'] })
  })
  test('a change replaces, adds and takes away', () => {
    expect(changed({ a: ['1'], b: ['2'] }, { a: '', b: ['3', '4'], c: '5', d: undefined })).toEqual({ b: ['3', '4'], c: ['5'] })
    expect(format(home)).toBe('#/')
    expect(parse('')).toEqual(home)
  })
  test('nonsense does no harm', () => {
    expect(parse('#/%E0%A4%A/x').path).toEqual(['%E0%A4%A', 'x'])
    expect(readMapRoute(parse('#/?edges=__proto__&view=x&__proto__=1').query)).toEqual(wholeMap)
  })
  test('a login link is no place', () => {
    expect(loginCode('#login=abc%2B')).toBe('abc+')
    expect(loginCode('#/?q=login=')).toBe('')
  })
})

describe('the time range', () => {
  const now = Date.parse('2026-11-24T14:00:00Z')
  test('the last hour is usual, and moves', () => {
    expect(readRange('nonsense', now)).toMatchObject({ id: '1h', fixed: false, from: now - 3_600_000, to: now })
  })
  test('a fixed one does not move', () => {
    const id = fixedRange(now - 120_000, now - 60_000)
    expect(readRange(id, now + 1e6)).toMatchObject({ id, fixed: true, from: now - 120_000, to: now - 60_000 })
    expect(readRange(fixedRange(now, now), now).fixed).toBe(false)
  })
  test('steps stop at the ends', () => {
    expect(stepped(readRange('5m', now), -1, now)).toBe('5m')
    expect(stepped(readRange('6h', now), 1, now)).toBe('24h')
  })
})

describe('screens', () => {
  test('each has its command, and its path leads to it', () => {
    for (const s of screens) {
      expect(commands.map((c) => c.id)).toContain(`go.${s.id}`)
      expect(screenAt(pathTo(s))).toBe(s)
    }
    expect(screenAt(['nowhere'])).toBeNull()
  })
})

describe('keys', () => {
  const press = (keys: Keys, key: string, now = 0, more = {}) =>
    keys.press({ key, ctrlKey: false, metaKey: false, altKey: false, target: null, ...more }, now, () => true)

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
    expect(press(new Keys(), 'k', 0, { target: input, ctrlKey: true })?.id).toBe('palette')
  })
  test('a command with nothing to do is no command', () => {
    expect(new Keys().press({ key: 't', ctrlKey: false, metaKey: false, altKey: false, target: null }, 0, () => false)).toBeNull()
  })
  test('no two commands want the same keys', () => {
    const all = commands.filter((c) => !c.element).flatMap((c) => c.keys.map((k) => k.join(' ')))
    expect(new Set(all).size).toBe(all.length)
  })
})
