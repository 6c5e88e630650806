import { describe, expect, test } from 'vitest'
import type { Group, GroupPartition, Reading } from '../api/types'
import { answerOf, answerOfOne, arranged, isKind, matches, spans } from './groups'
import { by, effect, signed } from './reset'

const at = '2026-07-14T12:00:00Z'
const exact = (value: number, unit: string): Reading => ({ value, low: value, high: value, unit, state: 'exact', as_of: at })
const none = (unit: string, why: string): Reading => ({ value: null, low: null, high: null, unit, state: 'unknown', why, as_of: at })
const group = (name: string, more: Partial<Group> = {}): Group => ({
  group: name,
  cluster: 'embedded',
  protocol: 'classic',
  state: 'Stable',
  members: 1,
  topics: ['shop.public.orders'],
  verdict: 'Up to date',
  code: 'ok',
  health: 'on_time',
  lag: { records: exact(10, 'records'), seconds: exact(0.8, 's') },
  rate_out: exact(204, 'records/s'),
  rate_in: exact(172, 'records/s'),
  ...more,
})
const late = group('loader', {
  health: 'late',
  code: 'behind',
  verdict: 'Behind by 42 s',
  trend: 'falling',
  lag: { records: exact(6020, 'records'), seconds: exact(42, 's') },
  caught_up_in: { value: 190, low: 160, high: 290, unit: 's', state: 'estimate', as_of: at },
})

describe('which group is behind', () => {
  test('the worst is said with its amount and its direction, and how the others are', () => {
    const s = answerOf([group('a'), late, group('mailer', { health: 'dead', members: 0 }), group('x', { health: 'unknown' })])
    expect(s.first).toBe('Nobody reads as mailer: it is 800 ms behind.')
    expect(s.rest).toBe('1 other needs a look, 1 keeps up, 1 unknown.')
    expect(answerOf([group('a'), late]).first).toBe('loader is 42 s behind and catching up: done in about 3 min.')
  })
  test('seconds that are not known are not zero', () => {
    const s = answerOf([group('a', { health: 'late', lag: { records: exact(7, 'records'), seconds: none('s', 'no head') } })])
    expect(s.first).toBe('a is 7 records behind.')
  })
  test('nothing behind, nothing known, nothing there', () => {
    expect(answerOf([group('a'), group('b')])).toMatchObject({ state: 'on_time', first: 'No group is behind.', rest: '' })
    expect(answerOf([group('a', { health: 'unknown', verdict: 'Unknown: no round yet' })])).toMatchObject({
      state: 'unknown',
      details: ['Unknown: no round yet'],
    })
    expect(answerOf([]).state).toBeNull()
  })
})

describe('one group', () => {
  const part = (partition: number, seconds: number, member: string): GroupPartition => ({
    topic: 'shop.public.orders',
    partition,
    committed: '1',
    end: '9',
    member,
    lag: { records: exact(5, 'records'), seconds: exact(seconds, 's') },
  })
  test('says where it is latest and who holds that', () => {
    const g = {
      ...late,
      partitions: [part(0, 31, 'm1'), part(1, 42, 'm2'), part(2, 41, 'm2')],
      member_list: [{ id: 'm2', client_id: 'loader-2', host: '', assigned: 2, partitions: [], lag: late.lag }],
    }
    const s = answerOfOne(g, Date.parse(at))
    expect(s.first).toMatch(/^loader is 42 s behind and catching up: done at about .*:10\.$/)
    expect(s.details).toContain('Latest on partitions 1, 2, held by loader-2')
    expect(s.details).toContain('It reads 204 rec/s and 172 rec/s arrive')
  })
  test('that keeps up, or that nobody reads as', () => {
    expect(answerOfOne(group('a'), 0).first).toBe('a keeps up: 800 ms behind.')
    expect(answerOfOne(group('a', { lag: { records: exact(0, 'records'), seconds: exact(0, 's') } }), 0).first).toBe(
      'a has read everything.',
    )
    expect(answerOfOne(group('a', { members: 0, health: 'dead' }), 0).first).toBe('Nobody reads as a: it is 800 ms behind.')
  })
})

test('kinds, filters and orders', () => {
  const all = [group('a'), late, group('n', { health: 'unknown', lag: { records: none('records', ''), seconds: none('s', '') } })]
  expect(all.filter((g) => isKind(g, 'behind')).map((g) => g.group)).toEqual(['loader'])
  expect(all.filter((g) => matches(g, 'ORDERS load')).map((g) => g.group)).toEqual(['loader'])
  expect(arranged(all, 'state', true).map((g) => g.group)).toEqual(['loader', 'n', 'a'])
  expect(arranged(all, 'seconds', true).map((g) => g.group)).toEqual(['loader', 'a', 'n'])
  expect(
    arranged([...all, group('m', { lag: { records: none('records', ''), seconds: none('s', '') } })], 'seconds', true).map((g) => g.group),
  ).toEqual(['loader', 'a', 'm', 'n'])
})

test('spans of partitions', () => {
  expect(spans([3, 0, 1, 2, 7])).toBe('0 to 3, 7')
  expect(spans([1, 2])).toBe('1, 2')
})

describe('a reset', () => {
  test('says what moves by how much, beyond what a float holds', () => {
    const moves = [
      { topic: 't', partition: 0, from: '9007199254740993', to: '9007199254740000' },
      { topic: 't', partition: 1, from: '5', to: '9' },
      { topic: 't', partition: 2, to: '4' },
    ]
    expect(effect('billing', moves)).toBe(
      'Moves 1 partition of billing back by 993 records, which will be read again; 1 partition forward by 4 records, which will not be read; 1 partition to a first place.',
    )
    expect(moves.map((m) => by(m)).map((n) => (n === null ? '' : signed(n)))).toEqual(['−993', '+4', ''])
    expect(effect('billing', [])).toMatch(/^Moves nothing/)
  })
})
