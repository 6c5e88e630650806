import { describe, expect, test } from 'vitest'
import type { Reading } from '../api/types'
import { about, age, amount, best, bounds, bytes, clock, count, duration, exact, known, otherZone, plural, short } from './format'

const at = '2026-07-14T12:21:38.000Z'
const reading = (r: Partial<Reading>): Reading => ({ value: null, low: null, high: null, unit: 's', state: 'bounded', as_of: at, ...r })

describe('durations', () => {
  test.each([
    [0, '0 ms'],
    [0.038, '38 ms'],
    [0.9996, '1.00 s'],
    [1.31, '1.31 s'],
    [42, '42.0 s'],
    [59.96, '1 min'],
    [190, '3 min 10 s'],
    [3600, '1 h'],
    [3660, '1 h 1 min'],
    [6 * 86_400 + 23 * 3600, '6 d 23 h'],
    [-5, '−5.00 s'],
  ])('%d s is %s', (s, text) => expect(duration(s)).toBe(text))

  test('no digit says more than the bounds allow', () => {
    expect(duration(0.31, 0.2)).toBe('0.3 s')
    expect(duration(42.04, 12)).toBe('42 s')
  })

  test.each([
    [0.3, '300 ms'],
    [3.14, '3.1 s'],
    [42.4, '42 s'],
    [101, '101 s'],
    [190, '3 min'],
    [7200, '2 h'],
    [500_000, '6 d'],
  ])('about %d s is %s', (s, text) => expect(about(s)).toBe(text))
})

describe('numbers', () => {
  test('64-bit text is never a JavaScript number', () => {
    expect(count('9007199254740993')).toBe('9,007,199,254,740,993')
    expect(count('18446744073709551615')).toBe('18,446,744,073,709,551,615')
    expect(count('not a number')).toBe('not a number')
  })
  test('commas from 1,000 up, zero is 0', () => {
    expect(count(999)).toBe('999')
    expect(count(1000)).toBe('1,000')
    expect(amount(0, 'records')).toBe('0 rec')
  })
  test.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1.0 KiB'],
    [12_582_912, '12.0 MiB'],
    [5 * 1024 ** 4, '5.0 TiB'],
  ])('%d bytes are %s', (n, text) => expect(bytes(n)).toBe(text))
  test('rates keep a digit while they are small', () => {
    expect(amount(3.24, 'records/s')).toBe('3.2 rec/s')
    expect(amount(172.4, 'records/s')).toBe('172 rec/s')
    expect(amount(0, 'records/s')).toBe('0 rec/s')
  })
  test('one and many', () => {
    expect(plural(1, 'path')).toBe('1 path')
    expect(plural(0, 'path')).toBe('0 paths')
  })
})

describe('readings', () => {
  test('unknown is never zero, and says why', () => {
    const r = reading({ state: 'unknown', why: 'no commit in this group yet' })
    expect(known(r)).toBe(false)
    expect(best(r)).toBeNull()
    expect(short(r)).toBe('unknown')
    expect(exact(r)).toContain('unknown: no commit in this group yet')
    expect(bounds(r)).toBe('')
    expect(short(null)).toBe('unknown')
  })
  test('zero that is known is 0', () => {
    expect(short(reading({ value: 0, low: 0, high: 0, state: 'exact' }))).toBe('0 ms')
  })
  test('an estimate shows its bounds, an exact value has none', () => {
    expect(bounds(reading({ value: 190, low: 160, high: 290, state: 'estimate' }))).toBe('between 2 min 40 s and 4 min 50 s')
    expect(bounds(reading({ value: 42, low: 42, high: 42, state: 'exact' }))).toBe('')
    expect(bounds(reading({ value: 42, low: -1, high: 43 }))).toBe('at most 43 s')
  })
  test('what is too small for its bounds is not written as zero', () => {
    expect(short(reading({ value: 0.0148, low: 0.007, high: 0.381 }))).toBe('< 0.4 s')
    expect(short(reading({ value: 0.0148, low: 0.014, high: 0.016 }))).toBe('15 ms')
  })
  test('one open bound', () => {
    expect(short(reading({ low: 30 }))).toBe('at least 30.0 s')
    expect(short(reading({ high: 5 }))).toBe('at most 5.00 s')
    expect(short(reading({ low: 30, high: 60 }))).toBe('30 s to 1 min')
    expect(bounds(reading({ value: 31, low: 30 }))).toBe('at least 30.0 s')
  })
  test('the tip has every digit and the time', () => {
    expect(exact(reading({ value: 42.123456, low: 41.9, high: 42.4, why: 'clock skew' }))).toMatch(
      /^42\.123456 s, within bounds from 41\.9 to 42\.4 s \(clock skew\), as of /,
    )
  })
})

describe('times', () => {
  test('a date only when it is not today', () => {
    const now = new Date(2026, 6, 14, 15, 0, 0).getTime()
    expect(clock(new Date(2026, 6, 14, 14, 3, 7).getTime(), now)).toBe('14:03:07')
    expect(clock(new Date(2026, 6, 13, 14, 3, 7).getTime(), now)).toBe('2026-07-13 14:03:07')
    expect(clock('nonsense', now)).toBe('unknown time')
  })
  test('UTC to the millisecond', () => expect(otherZone(at)).toBe('2026-07-14 12:21:38.000 UTC'))
  test('ages', () => {
    expect(age(420)).toBe('0.4 s')
    expect(age(12_300)).toBe('12 s')
    expect(age(190_000)).toBe('3 min 10 s')
    expect(age(-50)).toBe('0.0 s')
  })
})
