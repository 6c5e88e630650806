import { describe, expect, test } from 'vitest'
import type { MapData, TopicRow, TopicRows } from '../api/types'
import { answer, type Choice, isOver, lineID, lines, mapReaders, type Reader, Topics } from './rows'

const now = Date.parse('2026-11-24T14:00:00Z')
const day = 86_400_000
const row = (topic: string, more: Partial<TopicRow> = {}): TopicRow => ({
  topic,
  partitions: 1,
  records: '100',
  rate: 1,
  bytes: '1000',
  cleanup: 'delete',
  retention_ms: `${7 * day}`,
  owner: 'Shop team',
  readers: 1,
  worst: { group: 'g', state: 'caught_up', seconds: 0, low: 0, high: 0 },
  last_write: new Date(now).toISOString(),
  ...more,
})
const rows = (...items: TopicRow[]): TopicRows => ({
  v: 1,
  kind: 'topics.rows',
  cluster: 'embedded',
  as_of: '',
  readers_as_of: new Date(now).toISOString(),
  items,
})
const judged = (items: TopicRow[], onMap: Map<string, Reader[]> = new Map()) => new Topics(rows(...items), onMap, now)
const nobody = { readers: 0, worst: undefined } as unknown as Partial<TopicRow>
const choice: Choice = { filter: '', show: 'all', owner: '', sort: 'look', up: false, internal: false }
const kinds = (t: Topics, topic: string) => t.all.find((s) => s.row.topic === topic)?.reasons.map((r) => r.kind)

describe('what needs a look', () => {
  test('a reader that is behind, lost records, commits nothing', () => {
    const worst = (state: string, seconds: number | null) => ({ worst: { group: 'g', state, seconds, low: seconds, high: seconds } })
    const t = judged([
      row('late', worst('behind', 42)),
      row('soon', worst('behind', 3)),
      row('lost', worst('lost', 5)),
      row('silent', worst('no_commit', null)),
    ])
    expect(kinds(t, 'late')).toEqual(['late'])
    expect(kinds(t, 'soon')).toEqual([])
    expect(kinds(t, 'lost')).toEqual(['lost'])
    expect(kinds(t, 'silent')).toEqual(['unknown'])
  })
  test('retention that is about to take what is not read', () => {
    const behind = (ms: number) => ({ retention_ms: '60000', worst: { group: 'g', state: 'behind', seconds: ms, low: 1, high: ms } })
    const t = judged([
      row('near', behind(50)),
      row('far', behind(9)),
      row('over', behind(70)),
      row('ever', { ...behind(70), retention_ms: '-1' }),
    ])
    expect(kinds(t, 'near')).toEqual(['retention'])
    expect(kinds(t, 'far')).toEqual([])
    expect(kinds(t, 'over')).toEqual(['retention'])
    expect(t.all[3]?.left).toBeNull()
  })
  test('dead letters, unused, no owner; internal ones never', () => {
    const old = new Date(now - 94 * day).toISOString()
    const t = judged([
      row('webhooks.dead-letters', nobody),
      row('empty.dlq', { ...nobody, records: '0' }),
      row('orders.v1', { ...nobody, last_write: old }),
      row('fresh', nobody),
      { ...row('nobodys'), owner: '' },
      row('__freshet.schemas', { ...nobody, owner: '', last_write: old }),
      row('app-changelog', { internal: true, owner: '' }),
    ])
    expect(kinds(t, 'webhooks.dead-letters')).toEqual(['letters'])
    expect(kinds(t, 'empty.dlq')).toEqual([])
    expect(kinds(t, 'orders.v1')).toEqual(['unused'])
    expect(kinds(t, 'fresh')).toEqual([])
    expect(kinds(t, 'nobodys')).toEqual(['owner'])
    expect(t.internal.map((s) => s.row.topic)).toEqual(['__freshet.schemas', 'app-changelog'])
    expect(t.counts).toEqual({ all: 5, look: 3, unread: 4, unowned: 1, unknown: 0 })
  })
  test('where nobody owns anything, nothing is without an owner', () => {
    expect(judged([row('a', { owner: '' })]).counts.look).toBe(0)
  })
  test('what could not be read is not known, and groups that were not looked at are not none', () => {
    const unread = row('x', { why: '1 of 2 partitions unknown' })
    delete unread.records
    expect(kinds(judged([unread]), 'x')).toEqual(['unknown'])
    const before = { ...rows(row('y', nobody)) }
    delete before.readers_as_of
    const t = new Topics(before, new Map(), now)
    expect(t.all[0]?.readers).toBeNull()
    expect(kinds(t, 'y')).toEqual(['unknown'])
  })
})

describe('readers on the map', () => {
  const reading = (v: number) => ({ value: v, low: v, high: v, unit: 's', state: 'exact' as const, as_of: '' })
  const node = (id: string, lane: 'topic' | 'group' | 'sink', ref: string) => ({
    id,
    lane,
    name: ref,
    ref,
    state: 'late' as const,
    trend: 'steady' as const,
  })
  const map = {
    nodes: [node('topic:a', 'topic', 'a'), node('topic:far/a', 'topic', 'a'), node('group:g', 'group', 'g'), node('sink:s', 'sink', 's')],
    edges: [
      { id: '1', from: 'topic:a', to: 'group:g', state: 'late', delay: reading(0.2) },
      { id: '2', from: 'topic:a', to: 'sink:s', state: 'on_time', delay: reading(1) },
      { id: '3', from: 'topic:far/a', to: 'group:g', state: 'late', delay: reading(99) },
    ],
    paths: [
      {
        path: 'a → s',
        cluster: 'embedded',
        table: 'public.a',
        topic: 'a',
        to: 'sink:s',
        state: 'late',
        total: reading(42),
        trend: 'steady',
        source: 'x',
        hops: [],
      },
    ],
  } as unknown as MapData

  test('a path says how late a sink is; a group late elsewhere is not late here', () => {
    const all = mapReaders(map, 'embedded').get('a')
    expect(all?.map((r) => [r.name, r.state, r.seconds])).toEqual([
      ['g', 'on_time', 0.2],
      ['s', 'late', 42],
    ])
    expect(mapReaders(map, 'far').get('a')?.[0]?.state).toBe('late')
  })
  test('sinks count as readers, and the worst of all is the row’s', () => {
    const t = judged([row('a')], mapReaders(map, 'embedded'))
    expect(t.all[0]?.readers).toBe(2)
    expect(answer(t, now).first).toBe('1 of 1 topic needs a look: a is read 42 s late by s.')
  })
})

test('the same rows are judged again only where the map has them', () => {
  const items = rows(row('a'), row('b'))
  const first = new Topics(items, new Map(), now)
  const reader: Reader = { kind: 'sink', name: 's', state: 'late', seconds: 42, low: 42, high: 42, why: '' }
  const second = new Topics(items, new Map([['a', [reader]]]), now, first)
  expect(second.all[1]).toBe(first.all[1])
  expect(second.counts.look).toBe(1)
  const third = new Topics(items, new Map(), now, second)
  expect(third.counts.look).toBe(0)
  expect(new Topics(items, new Map(), now, third).order('look')).toBe(third.order('look'))
})

describe('the list', () => {
  const late = (s: number) => ({ worst: { group: 'loader', state: 'behind', seconds: s, low: s, high: s } })
  const t = judged([
    row('b', { bytes: '5' }),
    row('a', { bytes: '10', owner: 'Billing' }),
    row('late1', late(20)),
    row('late2', late(80)),
    row('__x'),
  ])
  const names = (c: Partial<Choice>) => lines(t, { ...choice, ...c }).lines.map((l) => (isOver(l) ? l.over : l.row.topic))

  test('stands in parts, the latest first, internal ones when asked for', () => {
    expect(names({})).toEqual(['Need a look 2', 'late2', 'late1', 'Nothing to do 2', 'a', 'b'])
    expect(names({ internal: true }).slice(-2)).toEqual(['Internal 1', '__x'])
  })
  test('is filtered by name, owner and reader, each word somewhere', () => {
    expect(names({ filter: 'LOADER late1' })).toEqual(['Need a look 1', 'late1'])
    expect(names({ filter: 'billing' })).toEqual(['Nothing to do 1', 'a'])
    expect(names({ owner: 'Billing', show: 'look' })).toEqual([])
    expect(lines(t, choice).found).toBe(4)
  })
  test('sorts both ways, and what is unknown comes last', () => {
    expect(names({ sort: 'readers' })).toEqual(['late2', 'late1', 'a', 'b'])
    expect(names({ sort: 'size', up: true })[0]).toBe('b')
    expect(names({ sort: 'topic', up: true })[0]).toBe('late2')
  })
  test('lines have ids of their own', () => {
    const ids = lines(t, { ...choice, internal: true }).lines.map(lineID)
    expect(new Set(ids).size).toBe(ids.length)
  })
  test('says what is worst, and then what else', () => {
    const said = answer(judged([row('orders', late(42)), row('x.dlq', { ...nobody, records: '12' }), row('y', { owner: '' })]), now)
    expect(said.first).toBe('3 of 3 topics need a look: orders is read 42 s late by loader, and 12 dead letters wait in x.dlq.')
    expect(said.details).toEqual(['y has no owner'])
    expect(said.state).toBe('late')
    expect(answer(judged([row('z')]), now)).toMatchObject({ state: 'on_time', first: 'None of 1 topic needs a look.' })
  })
  test('ten thousand are filtered as few are', () => {
    const many = judged(Array.from({ length: 10_000 }, (_, i) => row(`area-${i % 40}.topic-${i}`)))
    expect(lines(many, { ...choice, filter: 'topic-777' }).found).toBe(11)
  })
})
