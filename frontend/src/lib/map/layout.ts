// Where things stand on the map: a layered drawing, left to right. Pure: the same graph and size give the same drawing,
// and no reading moves anything.

export interface GraphNode {
  id: string
  /** Column, from 0. */
  lane: number
}

export interface GraphEdge {
  id: string
  from: string
  to: string
}

export interface Box {
  x: number
  y: number
  w: number
  h: number
}

export interface Point {
  x: number
  y: number
}

/** One cubic piece of an edge, with both control points half way between the columns. */
export interface Piece {
  from: Point
  to: Point
}

export interface Route {
  id: string
  /** The path's data for SVG. */
  d: string
  pieces: Piece[]
  /** Where the arrow's tip is. */
  tip: Point
}

export type Density = 'roomy' | 'close' | 'compact'

export interface Layout {
  width: number
  height: number
  density: Density
  columns: { x: number; w: number }[]
  boxes: Map<string, Box>
  routes: Route[]
  /** Node ids of each lane, top to bottom. */
  order: string[][]
  crossings: number
}

export interface Size {
  width: number
  /** What is visible; the drawing may be higher. */
  height: number
}

export const top = 38
const bottom = 14
const side = 20
const leastGap = 84
const shares = [0.92, 1.2, 1, 0.94]
const widest = 236

const densities: Record<Density, { h: number; gap: number; most: number }> = {
  roomy: { h: 48, gap: 14, most: 64 },
  close: { h: 42, gap: 6, most: 14 },
  compact: { h: 28, gap: 6, most: 16 },
}

/** Distance of parallel edges where they pass a lane they have no business in. */
const track = 7

/** What stands in a lane: a node, or the channel in which edges to one node pass the lane by. */
interface Item {
  id: string
  lane: number
  node: boolean
  h: number
  left: Link[]
  right: Link[]
  at: number
  y: number
}

interface Link {
  a: Item
  b: Item
  weight: number
}

export function layout(nodes: readonly GraphNode[], edges: readonly GraphEdge[], size: Size): Layout {
  const lanes = Math.max(shares.length, ...nodes.map((n) => n.lane + 1))
  const density = chooseDensity(nodes, lanes, size.height)
  const columns = chooseColumns(lanes, size.width)
  const { items, links, chains } = build(nodes, edges, lanes, densities[density].h)
  const crossings = order(items, links)
  const height = place(items, density, size.height)

  const boxes = new Map<string, Box>()
  for (const lane of items) {
    for (const it of lane) {
      const column = columns[it.lane]
      if (it.node && column) boxes.set(it.id, { x: column.x, y: it.y, w: column.w, h: it.h })
    }
  }
  return {
    width: size.width,
    height,
    density,
    columns,
    boxes,
    routes: route(chains, columns),
    order: items.map((lane) => lane.filter((i) => i.node).map((i) => i.id)),
    crossings,
  }
}

function chooseDensity(nodes: readonly GraphNode[], lanes: number, height: number): Density {
  const counts = new Array<number>(lanes).fill(0)
  for (const n of nodes) counts[n.lane] = (counts[n.lane] ?? 0) + 1
  const most = Math.max(1, ...counts)
  const room = height - top - bottom
  for (const d of ['roomy', 'close'] as const) {
    const { h, gap } = densities[d]
    if (most * h + (most - 1) * gap <= room) return d
  }
  return 'compact'
}

function chooseColumns(lanes: number, width: number): { x: number; w: number }[] {
  const share = (i: number) => shares[i] ?? 1
  const total = Array.from({ length: lanes }, (_, i) => share(i)).reduce((a, b) => a + b, 0)
  const free = Math.max(0, width - 2 * side - leastGap * (lanes - 1))
  // Of room beyond what the names need, the edges get the larger part.
  const forNodes = Math.min(free, 640 + Math.max(0, free - 640) * 0.45)
  const widths = Array.from({ length: lanes }, (_, i) => Math.round(Math.min(widest * share(i), (forNodes * share(i)) / total)))
  const gap = (width - 2 * side - widths.reduce((a, b) => a + b, 0)) / Math.max(1, lanes - 1)
  let x = side
  return widths.map((w) => {
    const column = { x: Math.round(x), w }
    x += w + gap
    return column
  })
}

/** A chain is an edge as the items it runs through; a back edge has only its two ends. */
interface Chain {
  edge: GraphEdge
  items: Item[]
}

function build(nodes: readonly GraphNode[], edges: readonly GraphEdge[], lanes: number, h: number) {
  const items: Item[][] = Array.from({ length: lanes }, () => [])
  const byId = new Map<string, Item>()
  const add = (id: string, lane: number, node: boolean, height: number): Item => {
    const it: Item = { id, lane, node, h: height, left: [], right: [], at: 0, y: 0 }
    items[lane]?.push(it)
    return it
  }
  for (const n of [...nodes].sort((a, b) => (a.id < b.id ? -1 : 1))) byId.set(n.id, add(n.id, n.lane, true, h))

  const links = new Map<string, Link>()
  const link = (a: Item, b: Item) => {
    const key = `${a.id}\u0000${b.id}`
    const known = links.get(key)
    if (known) {
      known.weight++
      return
    }
    const made = { a, b, weight: 1 }
    links.set(key, made)
    a.right.push(made)
    b.left.push(made)
  }

  const chains: Chain[] = []
  for (const e of [...edges].sort((a, b) => (a.id < b.id ? -1 : 1))) {
    const from = byId.get(e.from)
    const to = byId.get(e.to)
    if (!from || !to) continue
    const run = [from]
    for (let lane = from.lane + 1; lane < to.lane; lane++) {
      const id = `\u0001${lane}\u0000${to.id}` // sorts before names and cannot be one
      let channel = byId.get(id)
      if (!channel) {
        channel = add(id, lane, false, 0)
        byId.set(id, channel)
      }
      channel.h += track
      run.push(channel)
    }
    run.push(to)
    chains.push({ edge: e, items: run })
    if (to.lane > from.lane) {
      for (let i = 1; i < run.length; i++) link(run[i - 1] as Item, run[i] as Item)
    }
  }
  for (const lane of items) {
    lane.forEach((it, i) => {
      it.at = i
    })
  }
  return { items, links: [...links.values()], chains }
}

/** Orders every lane so that few links cross: barycentre sweeps, then swaps of neighbours. Returns the crossings left. */
function order(items: Item[][], links: Link[]): number {
  const between = items.map((_, lane) => links.filter((l) => l.a.lane === lane))
  const all = () => between.reduce((sum, ls) => sum + countCrossings(ls), 0)
  const number = (lane: Item[]) =>
    lane.forEach((it, i) => {
      it.at = i
    })
  const keep = () => items.map((lane) => [...lane])
  let best = keep()
  let least = all()

  for (let round = 0; round < 12 && least > 0; round++) {
    const right = round % 2 === 0
    const lanes = items.map((_, i) => i)
    if (!right) lanes.reverse()
    for (const i of lanes) {
      const lane = items[i]
      if (!lane) continue
      const centre = new Map(lane.map((it) => [it, barycentre(it, right)]))
      lane.sort((a, b) => (centre.get(a) ?? 0) - (centre.get(b) ?? 0) || a.at - b.at)
      number(lane)
    }
    const now = all()
    if (now < least) {
      least = now
      best = keep()
    }
  }
  items.forEach((lane, i) => {
    lane.splice(0, lane.length, ...(best[i] ?? []))
    number(lane)
  })

  for (let pass = 0, better = true; better && pass < 8 && least > 0; pass++) {
    better = false
    for (const lane of items) {
      for (let i = 0; i + 1 < lane.length; i++) {
        const [a, b] = [lane[i] as Item, lane[i + 1] as Item]
        const gain = pairCrossings(a, b) - pairCrossings(b, a)
        if (gain > 0) {
          lane[i] = b
          lane[i + 1] = a
          b.at = i
          a.at = i + 1
          least -= gain
          better = true
        }
      }
    }
  }
  return all()
}

function barycentre(it: Item, fromLeft: boolean): number {
  const links = fromLeft ? it.left : it.right
  const other = (l: Link) => (fromLeft ? l.a : l.b).at
  if (!links.length) return it.at
  let sum = 0
  let weight = 0
  for (const l of links) {
    sum += other(l) * l.weight
    weight += l.weight
  }
  return sum / weight
}

/** Crossings of links between two lanes: inversions, counted with a Fenwick tree. */
function countCrossings(links: Link[]): number {
  const size = links.reduce((m, l) => Math.max(m, l.b.at), 0) + 1
  const tree = new Float64Array(size + 1)
  const sorted = [...links].sort((p, q) => p.a.at - q.a.at || p.b.at - q.b.at)
  let sum = 0
  let seen = 0
  for (const l of sorted) {
    let upTo = 0
    for (let i = l.b.at + 1; i > 0; i -= i & -i) upTo += tree[i] ?? 0
    sum += (seen - upTo) * l.weight
    seen += l.weight
    for (let i = l.b.at + 1; i <= size; i += i & -i) tree[i] = (tree[i] ?? 0) + l.weight
  }
  return sum
}

/** Crossings among the links of two neighbours when first stands above second. */
function pairCrossings(first: Item, second: Item): number {
  let sum = 0
  for (const p of first.left) for (const q of second.left) if (p.a.at > q.a.at) sum += p.weight * q.weight
  for (const p of first.right) for (const q of second.right) if (p.b.at > q.b.at) sum += p.weight * q.weight
  return sum
}

/** Gives every item its y and returns the height of the drawing. */
function place(items: Item[][], density: Density, visible: number): number {
  const { gap, most } = densities[density]
  const need = items.map((lane) => lane.reduce((h, it) => h + it.h, 0) + gap * Math.max(0, lane.length - 1))
  const height = Math.max(visible, Math.max(0, ...need) + top + bottom)
  const room = height - top - bottom

  const anchor = need.indexOf(Math.max(...need))
  const lane = items[anchor] ?? []
  const spare = room - (need[anchor] ?? 0)
  const step = gap + Math.min(most - gap, spare / Math.max(1, lane.length + 1))
  let y = top + Math.max(0, (room - lane.reduce((h, it) => h + it.h, 0) - step * (lane.length - 1)) / 2) * 0.8
  for (const it of lane) {
    it.y = y
    y += it.h + step
  }

  const settled = new Set([anchor])
  const settle = (i: number) => {
    const those = items[i]
    if (!those?.length) return
    const wanted = those.map((it) => {
      let sum = 0
      let weight = 0
      for (const [links, end] of [
        [it.left, 'a'],
        [it.right, 'b'],
      ] as const) {
        for (const l of links) {
          const other = l[end]
          if (!settled.has(other.lane)) continue
          sum += (other.y + other.h / 2) * l.weight
          weight += l.weight
        }
      }
      return weight ? sum / weight - it.h / 2 : Number.NaN
    })
    spread(those, wanted, gap, top, height - bottom)
  }
  for (let i = anchor - 1; i >= 0; i--) {
    settle(i)
    settled.add(i)
  }
  for (let i = anchor + 1; i < items.length; i++) {
    settle(i)
    settled.add(i)
  }
  for (let round = 0; round < 3; round++) {
    items.forEach((_, i) => {
      if (i !== anchor) settle(i)
    })
  }
  for (const each of items.flat()) each.y = Math.round(each.y)
  return Math.round(height)
}

/**
 * Puts items as near to where they are wanted as their order and the gap between them allow (least squares: isotonic
 * regression by pooling neighbours), within [from, to]. An item with no wish follows the one above it.
 */
function spread(items: Item[], wanted: number[], gap: number, from: number, to: number): void {
  const offsets: number[] = []
  let offset = 0
  for (const it of items) {
    offsets.push(offset)
    offset += it.h + gap
  }
  const pools: { sum: number; weight: number; n: number }[] = []
  items.forEach((_, i) => {
    const wish = wanted[i] ?? Number.NaN
    const has = !Number.isNaN(wish)
    let pool = { sum: has ? wish - (offsets[i] ?? 0) : 0, weight: has ? 1 : 0, n: 1 }
    let above = pools[pools.length - 1]
    while (above && (!pool.weight || !above.weight || above.sum / above.weight >= pool.sum / pool.weight)) {
      pool = { sum: pool.sum + above.sum, weight: pool.weight + above.weight, n: pool.n + above.n }
      pools.pop()
      above = pools[pools.length - 1]
    }
    pools.push(pool)
  })
  const most = to - (offset - gap)
  let i = 0
  for (const p of pools) {
    const z = Math.min(Math.max(p.weight ? p.sum / p.weight : (from + most) / 2, from), Math.max(from, most))
    for (let k = 0; k < p.n; k++, i++) (items[i] as Item).y = z + (offsets[i] ?? 0)
  }
}

function route(chains: Chain[], columns: { x: number; w: number }[]): Route[] {
  const middle = (it: Item | undefined) => (it ? it.y + it.h / 2 : 0)
  const out = new Map<Item, { chain: Chain; at: number }[]>()
  const into = new Map<Item, { chain: Chain; at: number }[]>()
  const put = (m: typeof out, it: Item, chain: Chain, at: number) => {
    const list = m.get(it)
    if (list) list.push({ chain, at })
    else m.set(it, [{ chain, at }])
  }
  for (const chain of chains) {
    chain.items.forEach((it, at) => {
      if (at + 1 < chain.items.length) put(out, it, chain, at)
      if (at > 0) put(into, it, chain, at)
    })
  }

  // Ports: what goes up leaves at the top. Edges in one channel keep the order of where they come from, all the way.
  const ports = new Map<Chain, { out: number[]; into: number[] }>()
  const port = (c: Chain) => {
    let p = ports.get(c)
    if (!p) {
      p = { out: [], into: [] }
      ports.set(c, p)
    }
    return p
  }
  const slots = (it: Item, n: number, i: number) => {
    const step = it.node ? Math.min(9, (it.h - 12) / Math.max(1, n - 1)) : track
    return middle(it) + (i - (n - 1) / 2) * step
  }
  const byEnd = (a: Chain, b: Chain) => (a.edge.id < b.edge.id ? -1 : 1)
  for (const [it, list] of out) {
    list.sort(
      (p, q) =>
        middle(p.chain.items[p.at + 1]) - middle(q.chain.items[q.at + 1]) ||
        middle(p.chain.items.at(-1)) - middle(q.chain.items.at(-1)) ||
        middle(p.chain.items[0]) - middle(q.chain.items[0]) ||
        byEnd(p.chain, q.chain),
    )
    list.forEach(({ chain, at }, i) => {
      port(chain).out[at] = slots(it, list.length, i)
    })
  }
  for (const [it, list] of into) {
    list.sort(
      (p, q) =>
        middle(p.chain.items[p.at - 1]) - middle(q.chain.items[q.at - 1]) ||
        middle(p.chain.items[0]) - middle(q.chain.items[0]) ||
        byEnd(p.chain, q.chain),
    )
    list.forEach(({ chain, at }, i) => {
      port(chain).into[at] = slots(it, list.length, i)
    })
    if (!it.node)
      list.forEach(({ chain, at }) => {
        const p = port(chain)
        p.out[at] = p.into[at] ?? 0
      })
  }

  return chains.map((chain) => {
    const p = port(chain)
    const pieces: Piece[] = []
    for (let i = 0; i + 1 < chain.items.length; i++) {
      const [a, b] = [chain.items[i] as Item, chain.items[i + 1] as Item]
      const [ca, cb] = [columns[a.lane], columns[b.lane]]
      if (!ca || !cb) continue
      pieces.push({
        from: { x: ca.x + ca.w, y: p.out[i] ?? middle(a) },
        to: { x: cb.x, y: p.into[i + 1] ?? middle(b) },
      })
    }
    const last = pieces[pieces.length - 1]
    const d = pieces.map((piece, i) => `${i ? 'H' : 'M'}${n(piece.from.x)}${i ? '' : ` ${n(piece.from.y)}`}${curve(piece)}`).join('')
    return { id: chain.edge.id, d, pieces, tip: last?.to ?? { x: 0, y: 0 } }
  })
}

const n = (v: number) => `${Math.round(v * 10) / 10}`

function curve(p: Piece): string {
  if (p.to.x <= p.from.x) {
    // Against the stream: out to the right, under, and in from the left.
    const below = Math.max(p.from.y, p.to.y) + 44
    return `C${n(p.from.x + 60)} ${n(below)} ${n(p.to.x - 60)} ${n(below)} ${n(p.to.x)} ${n(p.to.y)}`
  }
  if (Math.abs(p.to.y - p.from.y) < 0.5) return `L${n(p.to.x)} ${n(p.to.y)}`
  const x = (p.from.x + p.to.x) / 2
  return `C${n(x)} ${n(p.from.y)} ${n(x)} ${n(p.to.y)} ${n(p.to.x)} ${n(p.to.y)}`
}

/** The point of a piece at t in [0, 1]. */
export function pointOn(p: Piece, t: number): Point {
  const u = 1 - t
  const x = (p.from.x + p.to.x) / 2
  return {
    x: u * u * u * p.from.x + 3 * u * t * x + t * t * t * p.to.x,
    y: (u * u * u + 3 * u * u * t) * p.from.y + (3 * u * t * t + t * t * t) * p.to.y,
  }
}

export interface LabelAsk {
  id: string
  /** Smaller is placed first and so more surely. */
  rank: number
  w: number
  /** Heights to try, the best first. */
  h: number[]
  /** How many other edges it may lie over. */
  cover: number
}

export interface LabelSpot {
  x: number
  y: number
  w: number
  h: number
  /** The line runs level through the middle of the label, so its two lines stand clear of it. */
  level: boolean
}

const spots = [0.5, 0.42, 0.58, 0.36, 0.64, 0.3, 0.7, 0.25, 0.75]

/** A place on its edge for each label that finds one: over no node and no other label, over as few other edges as can be. */
export function placeLabels(drawing: Layout, asks: readonly LabelAsk[]): Map<string, LabelSpot> {
  const routes = new Map(drawing.routes.map((r) => [r.id, r]))
  const samples = drawing.routes.map((r) => ({ id: r.id, points: r.pieces.flatMap((p) => sampled(p)) }))
  const taken: Box[] = [...drawing.boxes.values()]
  const placed = new Map<string, LabelSpot>()
  for (const ask of [...asks].sort((a, b) => a.rank - b.rank || (a.id < b.id ? -1 : 1))) {
    const r = routes.get(ask.id)
    if (!r) continue
    let best: { spot: LabelSpot; cost: number } | null = null
    for (const h of ask.h) {
      r.pieces.forEach((piece, leg) => {
        if (piece.to.x <= piece.from.x) return
        const flat = Math.abs(piece.to.y - piece.from.y) < 6 && h > 20
        spots.forEach((t, i) => {
          const at = pointOn(piece, t)
          for (const level of flat ? [true, false] : [false]) {
            const tall = level ? h + 8 : h
            const box = { x: at.x - ask.w / 2, y: at.y - tall / 2, w: ask.w, h: tall }
            if (box.y < top - 10 || box.y + box.h > drawing.height) continue
            if (taken.some((b) => overlap(b, box, 2))) continue
            let crossed = 0
            for (const s of samples) if (s.id !== ask.id && s.points.some((q) => inside(q, box))) crossed++
            // Two lines with an edge between them need it to be the only one; so does a label among parallel edges.
            if (crossed && (level || leg > 0)) continue
            if (crossed > ask.cover) continue
            const cost = crossed * 4 + i + leg * 6 + (level ? 0 : 1)
            if (!best || cost < best.cost) best = { spot: { ...box, level }, cost }
          }
        })
      })
      if (best) break
    }
    const found = best as { spot: LabelSpot; cost: number } | null
    if (!found) continue
    placed.set(ask.id, found.spot)
    taken.push(found.spot)
  }
  return placed
}

function sampled(p: Piece): Point[] {
  return Array.from({ length: 17 }, (_, i) => pointOn(p, i / 16))
}

function inside(p: Point, b: Box): boolean {
  return p.x > b.x && p.x < b.x + b.w && p.y > b.y && p.y < b.y + b.h
}

function overlap(a: Box, b: Box, slack: number): boolean {
  return a.x < b.x + b.w + slack && b.x < a.x + a.w + slack && a.y < b.y + b.h + slack && b.y < a.y + a.h + slack
}
