import { describe, expect, test } from 'vitest'
import type { TopicPartition } from '../api/types'
import { arranged, meaning, retention } from './config'
import { judged, parts } from './partitions'
import type { Reader } from './rows'
import { wrongName } from './spec'
import { topicAnswer, writing } from './topic'

const part = (partition: number, more: Partial<TopicPartition> = {}): TopicPartition => ({
  partition,
  leader: 1,
  start: '0',
  end: '100',
  replicas: [1, 2],
  isr: [1, 2],
  ...more,
})
const reader = (name: string, state: Reader['state'], seconds: number | null): Reader => ({
  kind: 'group',
  name,
  state,
  seconds,
  low: seconds,
  high: seconds,
  why: '',
})

describe('partitions', () => {
  test('offsets beyond what a number holds are counted exactly', () => {
    const [a, b] = parts([part(0, { start: '9007199254740993', end: '9007199254740996' }), part(1, { start: '0', end: '1' })])
    expect(a?.records).toBe(3n)
    expect([a?.share, b?.share]).toEqual([75, 25])
  })
  test('what cannot be read, has no leader or lacks replicas is said', () => {
    expect(judged(parts([part(0), part(1, { leader: -1, error: 'no leader' })])).words).toBe('1 partition has no leader')
    const one = part(0, { error: 'timeout' })
    delete one.end
    expect(judged(parts([one])).state).toBe('late')
    expect(judged(parts([part(0), part(1, { isr: [1] })])).words).toBe('1 partition of 2 is under-replicated')
    expect(judged(parts([part(0), part(1)])).words).toBe('every replica in sync, records are spread evenly')
  })
  test('skew is said, unless there is too little to speak of', () => {
    const skewed = [part(0, { end: '100000' }), part(1, { end: '10' }), part(2, { end: '10' })]
    expect(judged(parts(skewed))).toMatchObject({ state: 'at_risk' })
    expect(judged(parts(skewed)).words).toContain('partition 0 holds 3.0× its even share')
    expect(judged(parts([part(0, { end: '3' }), part(1, { end: '0' }), part(2, { end: '0' })])).state).toBe('on_time')
  })
})

describe('settings in words', () => {
  test('durations and sizes', () => {
    expect(meaning('retention.ms', '604800000')).toBe('goes after 7 d')
    expect(meaning('retention.ms', '-1')).toBe('never goes by time')
    expect(meaning('max.message.bytes', '1048588')).toBe('a batch is at most 1.0 MiB')
    expect(meaning('cleanup.policy', 'compact')).toContain('newest record of each key')
    expect(meaning('toString', 'x')).toBe('')
    expect(retention('-1')).toBe('for ever')
  })
  test('those that are asked about come first', () => {
    expect(arranged([{ name: 'a' }, { name: 'retention.ms' }, { name: 'cleanup.policy' }]).map((e) => e.name)).toEqual([
      'cleanup.policy',
      'retention.ms',
      'a',
    ])
  })
})

describe('one topic in a sentence', () => {
  const on = { state: 'on_time' as const, words: 'written on time, 0.3 s after commit' }
  test('read late, on time, by nobody, not known', () => {
    expect(topicAnswer(on, [reader('a', 'late', 42), reader('b', 'on_time', 1)])).toEqual({
      state: 'late',
      first: 'Read 42 s late by a, on time by 1; written on time, 0.3 s after commit.',
    })
    expect(topicAnswer(on, [reader('b', 'on_time', 1)]).first).toBe(
      'Written on time, 0.3 s after commit; the latest of 1 reader is b, 1.0 s behind.',
    )
    expect(topicAnswer(on, []).first).toContain('no group and no sink reads it')
    expect(topicAnswer(on, null).state).toBe('unknown')
  })
  test('what no source of ours writes is not called on time', () => {
    expect(writing(null, 'embedded', 'x').state).toBe('unknown')
  })
})

test('names that Kafka would refuse', () => {
  expect(['orders', 'a.b_c-1', ''].map(wrongName)).toEqual(['', '', ''])
  expect(['..', 'a b', 'ä', 'x'.repeat(250)].every((n) => wrongName(n) !== '')).toBe(true)
})
