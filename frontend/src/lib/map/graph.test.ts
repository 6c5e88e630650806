import { describe, expect, test } from 'vitest'
import type { MapEdge, MapNode, Reading, State } from '../api/types'
import { foldAbove, matches, reach, sum, view } from './graph'

const node = (lane: MapNode['lane'], ref: string, state: State = 'on_time'): MapNode => ({
  id: `${lane}:${ref}`,
  lane,
  name: ref,
  ref,
  state,
  trend: 'steady',
})
const edge = (from: string, to: string): MapEdge => ({ id: `${from}>${to}`, from, to, state: 'on_time', rate: rec(10) })
const rec = (value: number): Reading => ({
  value,
  low: value,
  high: value,
  unit: 'records/s',
  state: 'exact',
  as_of: '2026-07-14T12:21:38.000Z',
})

const small = {
  nodes: [node('source', 'shop'), node('topic', 'orders'), node('topic', 'items'), node('group', 'billing', 'late'), node('sink', 'w')],
  edges: [
    edge('source:shop', 'topic:orders'),
    edge('source:shop', 'topic:items'),
    edge('topic:orders', 'group:billing'),
    edge('topic:items', 'sink:w'),
  ],
}

function large(late: number[] = []) {
  const nodes = [node('source', 'shop')]
  const edges: MapEdge[] = []
  for (let i = 0; i < foldAbove + 40; i++) {
    const name = `${['billing', 'crm', 'ledger'][i % 3]}.public.t${i}`
    nodes.push(node('topic', name, late.includes(i) ? 'late' : 'on_time'))
    edges.push(edge('source:shop', `topic:${name}`))
  }
  return { nodes, edges }
}

describe('filter', () => {
  test('shows what answers to it, and the stream up and down from it', () => {
    expect([...reach(small, 'orders')].sort()).toEqual(['group:billing', 'source:shop', 'topic:orders'])
    expect(reach(small, '').size).toBe(5)
    expect(reach(small, 'nothing like it').size).toBe(0)
  })
  test('a sibling that shares the source stays out', () => {
    expect(reach(small, 'billing').has('topic:items')).toBe(false)
  })
  test('states and lanes', () => {
    const [, orders, , billing] = small.nodes as [MapNode, MapNode, MapNode, MapNode]
    expect(matches(billing, 'is:late')).toBe(true)
    expect(matches(orders, 'is:late')).toBe(false)
    expect(matches(orders, 'lane:topics ORD')).toBe(true)
    expect(matches(orders, 'is:nonsense')).toBe(false)
    const owned = { ...orders, owner: 'Shop team' }
    expect(matches(owned, 'owner:shop')).toBe(true)
    expect(matches(owned, 'owner:data')).toBe(false)
    expect(matches(orders, 'owner:shop')).toBe(false)
    expect(matches(owned, 'team')).toBe(true)
  })
})

describe('folds', () => {
  test('a small map is shown whole', () => {
    const v = view(small, '', new Set())
    expect(v.folded).toBe(false)
    expect(v.nodes.map((n) => n.id)).toEqual(small.nodes.map((n) => n.id))
    expect(v.edges.map((e) => e.id)).toEqual(small.edges.map((e) => e.id))
  })
  test('a large one is folded by the beginnings of names, and no node is lost', () => {
    const map = large()
    const v = view(map, '', new Set())
    expect(v.folded).toBe(true)
    expect(
      v.nodes
        .filter((n) => n.lane === 'topic')
        .map((n) => n.name)
        .sort(),
    ).toEqual(['billing.public.*', 'crm.public.*', 'ledger.public.*'])
    expect(v.nodes.reduce((n, x) => n + x.members.length, 0)).toBe(map.nodes.length)
    expect(v.edges).toHaveLength(3)
    expect(v.edges[0]?.rate?.value).toBe(800)
  })
  test('what is late stands by itself, and what is chosen', () => {
    const v = view(large([5, 7]), '', new Set(), new Set(['topic:crm.public.t1']))
    expect(
      v.nodes
        .filter((n) => n.node && n.lane === 'topic')
        .map((n) => n.name)
        .sort(),
    ).toEqual(['crm.public.t1', 'crm.public.t7', 'ledger.public.t5'])
  })
  test('an opened fold shows its members', () => {
    const v = view(large(), '', new Set(['fold:topic:crm.public.*']))
    expect(v.nodes.filter((n) => n.node && n.name.startsWith('crm')).length).toBe(80)
  })
  test('a filter that leaves few unfolds them', () => {
    const v = view(large(), 'crm', new Set())
    expect(v.folded).toBe(false)
    expect(v.shown).toBe(81)
  })
})

describe('sums', () => {
  const unknown: Reading = { value: null, low: null, high: null, unit: 'records/s', state: 'unknown', why: 'no round', as_of: '' }
  test('a sum with a part unknown is only known from below', () => {
    expect(sum([rec(3), unknown, rec(4)])).toMatchObject({ value: null, low: 7, high: null, state: 'bounded', why: '1 of 3 unknown' })
  })
  test('all unknown stays unknown, all exact stays exact', () => {
    expect(sum([unknown])).toBe(unknown)
    expect(sum([rec(3), rec(4)])).toMatchObject({ value: 7, state: 'exact' })
    expect(sum([])).toBeNull()
  })
})
