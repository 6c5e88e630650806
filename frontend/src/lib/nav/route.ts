// All that a person would share is in the hash: #/?sel=…&edges=…&range=…&q=…&view=…&open=…

export type EdgeMode = 'freshness' | 'rate' | 'lag'
export type Range = '15m' | '1h' | '6h' | '24h'
export type Shape = 'map' | 'table'

export interface Route {
  /** A node's id, edge:ID, bundle:…, fold:… or path:TABLE>TOPIC>END; '' for nothing. */
  sel: string
  edges: EdgeMode
  range: Range
  q: string
  view: Shape
  /** Folds that are opened. */
  open: string[]
}

export const ranges: Record<Range, { ms: number; word: string; long: string }> = {
  '15m': { ms: 900_000, word: '15 min', long: 'Last 15 min' },
  '1h': { ms: 3_600_000, word: '1 h', long: 'Last hour' },
  '6h': { ms: 21_600_000, word: '6 h', long: 'Last 6 h' },
  '24h': { ms: 86_400_000, word: '24 h', long: 'Last 24 h' },
}

export const edgeModes: Record<EdgeMode, string> = { freshness: 'Freshness', rate: 'Rate', lag: 'Lag in records' }

export const home: Route = { sel: '', edges: 'freshness', range: '1h', q: '', view: 'map', open: [] }

function pick<T extends string>(value: string | null, table: Record<T, unknown>, otherwise: T): T {
  return value !== null && Object.hasOwn(table, value) ? (value as T) : otherwise
}

export function parse(hash: string): Route {
  const at = hash.indexOf('?')
  const p = new URLSearchParams(at < 0 ? '' : hash.slice(at + 1))
  return {
    sel: p.get('sel') ?? '',
    edges: pick(p.get('edges'), edgeModes, home.edges),
    range: pick(p.get('range'), ranges, home.range),
    q: p.get('q') ?? '',
    view: pick<Shape>(p.get('view'), { map: 1, table: 1 }, home.view),
    open: p.getAll('open'),
  }
}

/** The hash of a route; what is as usual is left out, so that links stay short. */
export function format(r: Route): string {
  const p = new URLSearchParams()
  if (r.sel) p.set('sel', r.sel)
  if (r.edges !== home.edges) p.set('edges', r.edges)
  if (r.range !== home.range) p.set('range', r.range)
  if (r.q) p.set('q', r.q)
  if (r.view !== home.view) p.set('view', r.view)
  for (const o of r.open) p.append('open', o)
  const text = p.toString()
  return text ? `#/?${text}` : '#/'
}

/** The one-time code of a login link, '' where the hash is none. */
export function loginCode(hash: string): string {
  return hash.startsWith('#login=') ? decodeURIComponent(hash.slice('#login='.length)) : ''
}
