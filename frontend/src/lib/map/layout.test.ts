import { describe, expect, test } from 'vitest'
import { type Box, type GraphEdge, type GraphNode, type LabelAsk, layout, placeLabels, pointOn } from './layout'

const size = { width: 968, height: 540 }

function graph(counts: number[], join: (add: (from: string, to: string) => void) => void) {
  const nodes: GraphNode[] = counts.flatMap((n, lane) => Array.from({ length: n }, (_, i) => ({ id: `${'stgk'[lane]}${i}`, lane })))
  const edges: GraphEdge[] = []
  join((from, to) => edges.push({ id: `${from}>${to}`, from, to }))
  return { nodes, edges }
}

const overlap = (a: Box, b: Box) => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h

function pairs<T>(list: T[]): [T, T][] {
  return list.flatMap((a, i) => list.slice(i + 1).map((b): [T, T] => [a, b]))
}

/** A pseudo-random graph: the same one for the same seed. */
function random(seed: number, counts: number[], density: number) {
  let x = seed
  const next = () => {
    x = (x * 1_103_515_245 + 12_345) % 2_147_483_648
    return x / 2_147_483_648
  }
  return graph(counts, (add) => {
    for (let lane = 0; lane + 1 < counts.length; lane++) {
      for (let i = 0; i < (counts[lane] ?? 0); i++) {
        for (let to = lane + 1; to < counts.length; to++) {
          for (let j = 0; j < (counts[to] ?? 0); j++) if (next() < density / (to - lane)) add(`${'stgk'[lane]}${i}`, `${'stgk'[to]}${j}`)
        }
      }
    }
  })
}

describe('layout', () => {
  test('untangles what can be untangled', () => {
    const { nodes, edges } = graph([0, 4, 4, 0], (add) => {
      add('t0', 'g3')
      add('t1', 'g2')
      add('t2', 'g1')
      add('t3', 'g0')
    })
    expect(layout(nodes, edges, size).crossings).toBe(0)
  })

  test('untangles over all lanes, past a lane too', () => {
    const { nodes, edges } = graph([2, 4, 2, 2], (add) => {
      add('s0', 't1')
      add('s0', 't3')
      add('s1', 't0')
      add('s1', 't2')
      add('t1', 'g1')
      add('t0', 'g0')
      add('t3', 'k1')
      add('t2', 'k0')
      add('g1', 'k1')
    })
    expect(layout(nodes, edges, size).crossings).toBe(0)
  })

  test.each([1, 2, 3, 4, 5, 6, 7, 8])('nodes never overlap and stay inside, graph %d', (seed) => {
    const { nodes, edges } = random(seed, [2, 9 + seed, 5, 4], 0.25)
    const drawn = layout(nodes, edges, size)
    const boxes = [...drawn.boxes.values()]
    expect(boxes).toHaveLength(nodes.length)
    for (const [a, b] of pairs(boxes)) expect(overlap(a, b), `${JSON.stringify(a)} ${JSON.stringify(b)}`).toBe(false)
    for (const b of boxes) {
      expect(b.y).toBeGreaterThanOrEqual(30)
      expect(b.y + b.h).toBeLessThanOrEqual(drawn.height)
      expect(b.x + b.w).toBeLessThanOrEqual(drawn.width)
      expect(b.h).toBeGreaterThanOrEqual(24)
    }
  })

  test('edges that pass a lane by touch none of its nodes', () => {
    const { nodes, edges } = graph([1, 6, 3, 1], (add) => {
      for (let i = 0; i < 6; i++) {
        add('s0', `t${i}`)
        add(`t${i}`, 'k0')
        add(`t${i}`, `g${i % 3}`)
      }
    })
    const drawn = layout(nodes, edges, size)
    const groups = ['g0', 'g1', 'g2'].map((id) => drawn.boxes.get(id) as Box)
    for (const r of drawn.routes.filter((x) => x.pieces.length === 2)) {
      const [first, second] = r.pieces as [(typeof r.pieces)[0], (typeof r.pieces)[0]]
      expect(first.to.y).toBe(second.from.y)
      for (const g of groups) expect(first.to.y < g.y || first.to.y > g.y + g.h).toBe(true)
    }
  })

  test('what leaves a node leaves in the order of where it goes', () => {
    const { nodes, edges } = graph([1, 5, 0, 0], (add) => {
      for (let i = 0; i < 5; i++) add('s0', `t${i}`)
    })
    const ends = layout(nodes, edges, size)
      .routes.map((r) => [r.pieces[0]?.from.y ?? 0, r.tip.y] as const)
      .sort((a, b) => a[0] - b[0])
    expect(ends.map((e) => e[1])).toEqual([...ends.map((e) => e[1])].sort((a, b) => a - b))
  })

  test('does not depend on the order things are told in', () => {
    const { nodes, edges } = random(11, [2, 8, 4, 3], 0.3)
    const a = layout(nodes, edges, size)
    const b = layout([...nodes].reverse(), [...edges].reverse(), size)
    expect([...b.boxes].sort()).toEqual([...a.boxes].sort())
    expect(b.routes.map((r) => r.d).sort()).toEqual(a.routes.map((r) => r.d).sort())
  })

  test('grows downwards where there is no room, and packs closer first', () => {
    const roomy = layout(...args(graph([1, 4, 0, 0], () => {})), size)
    const compact = layout(...args(graph([1, 14, 0, 0], () => {})), size)
    const long = layout(...args(graph([1, 40, 0, 0], () => {})), size)
    expect([roomy.density, compact.density, long.density]).toEqual(['roomy', 'compact', 'compact'])
    expect(roomy.height).toBe(size.height)
    expect(long.height).toBeGreaterThan(size.height)
  })

  test('an edge against the stream, to itself, or to nothing breaks nothing', () => {
    const nodes = [
      { id: 'a', lane: 1 },
      { id: 'b', lane: 3 },
    ]
    const drawn = layout(
      nodes,
      [
        { id: '1', from: 'b', to: 'a' },
        { id: '2', from: 'a', to: 'a' },
        { id: '3', from: 'a', to: 'gone' },
      ],
      size,
    )
    expect(drawn.routes.map((r) => r.id)).toEqual(['1', '2'])
    expect(drawn.routes.every((r) => !r.d.includes('NaN'))).toBe(true)
  })

  test('nothing at all', () => {
    expect(layout([], [], size)).toMatchObject({ height: size.height, routes: [], crossings: 0 })
  })

  test('200 nodes and 600 edges are laid out in a fraction of a second', () => {
    const { nodes, edges } = random(3, [10, 110, 60, 20], 0.06)
    expect(edges.length).toBeGreaterThan(400)
    expect(layout(nodes, edges, size).boxes.size).toBe(200)
  })
})

function args(g: { nodes: GraphNode[]; edges: GraphEdge[] }): [GraphNode[], GraphEdge[]] {
  return [g.nodes, g.edges]
}

describe('labels', () => {
  const asks = (edges: GraphEdge[]): LabelAsk[] => edges.map((e, i) => ({ id: e.id, rank: i, w: 66, h: [28, 15], cover: 99 }))

  test.each([1, 2, 3, 4, 5, 6])('collide with no node and no other label, graph %d', (seed) => {
    const { nodes, edges } = random(seed, [2, 8, 4, 3], 0.3)
    const drawn = layout(nodes, edges, size)
    const spots = [...placeLabels(drawn, asks(edges)).values()]
    expect(spots.length).toBeGreaterThan(5)
    for (const [a, b] of pairs(spots)) expect(overlap(a, b)).toBe(false)
    for (const s of spots) for (const b of drawn.boxes.values()) expect(overlap(s, b)).toBe(false)
  })

  test('what is ranked first is placed first', () => {
    const { nodes, edges } = random(5, [1, 9, 4, 2], 0.5)
    const drawn = layout(nodes, edges, { width: 700, height: 400 })
    const all = placeLabels(drawn, asks(edges))
    const left = edges.find((e) => !all.has(e.id))
    expect(left).toBeDefined()
    const first = placeLabels(
      drawn,
      asks(edges).map((a) => (a.id === left?.id ? { ...a, rank: -1 } : a)),
    )
    expect(first.has(left?.id ?? '')).toBe(true)
  })

  test('sit on their edge', () => {
    const { nodes, edges } = graph([1, 5, 0, 0], (add) => {
      for (let i = 0; i < 5; i++) add('s0', `t${i}`)
    })
    const drawn = layout(nodes, edges, size)
    for (const [id, s] of placeLabels(drawn, asks(edges))) {
      const piece = drawn.routes.find((r) => r.id === id)?.pieces[0]
      if (!piece) throw new Error(id)
      const near = Math.min(
        ...Array.from({ length: 101 }, (_, i) => pointOn(piece, i / 100)).map((p) => Math.hypot(p.x - s.x - s.w / 2, p.y - s.y - s.h / 2)),
      )
      expect(near).toBeLessThan(3)
    }
  })

  test('a label that may cover nothing is left out rather than laid over an edge', () => {
    const { nodes, edges } = random(5, [1, 9, 4, 2], 0.5)
    const drawn = layout(nodes, edges, size)
    const shy = placeLabels(
      drawn,
      asks(edges).map((a) => ({ ...a, cover: 0 })),
    )
    expect(shy.size).toBeLessThan(placeLabels(drawn, asks(edges)).size)
  })
})
