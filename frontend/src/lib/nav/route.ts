// All that a person would share is in the hash: #/topics/shop.public.orders/messages?from=oldest&range=6h

export type Query = Readonly<Record<string, readonly string[]>>

export interface Route {
  /** Its segments, decoded: `['topics', 'shop.public.orders', 'messages']`; none is the Map. */
  path: readonly string[]
  query: Query
}

export const home: Route = { path: [], query: {} }

/** What a change of the query may hold: '', undefined and an empty list take a parameter away. */
export type Change = Record<string, string | readonly string[] | undefined>

export function parse(hash: string): Route {
  if (!hash.startsWith('#/')) return home
  const at = hash.indexOf('?')
  const path = hash
    .slice(2, at < 0 ? undefined : at)
    .split('/')
    .filter((s) => s !== '')
    .map(decode)
  const query: Record<string, string[]> = Object.create(null)
  for (const [k, v] of new URLSearchParams(at < 0 ? '' : hash.slice(at + 1))) {
    query[k] ??= []
    query[k].push(v)
  }
  return { path, query }
}

export function format(r: Route): string {
  const p = new URLSearchParams()
  for (const [k, all] of Object.entries(r.query)) for (const v of all) p.append(k, v)
  const text = p.toString()
  return `#/${r.path.map(encodeURIComponent).join('/')}${text ? `?${text}` : ''}`
}

/** A query with a change made to it. */
export function changed(query: Query, change: Change): Query {
  const next: Record<string, readonly string[]> = { ...query }
  for (const [k, v] of Object.entries(change)) {
    if (v === undefined || v.length === 0) delete next[k]
    else next[k] = typeof v === 'string' ? [v] : v
  }
  return next
}

/** One of the words of a table, or the usual one. */
export function pick<T extends string>(value: string | undefined, table: Record<T, unknown>, otherwise: T): T {
  return value !== undefined && Object.hasOwn(table, value) ? (value as T) : otherwise
}

function decode(s: string): string {
  try {
    return decodeURIComponent(s)
  } catch {
    return s
  }
}

/** The one-time code of a login link, '' where the hash is none. */
export function loginCode(hash: string): string {
  return hash.startsWith('#login=') ? decodeURIComponent(hash.slice('#login='.length)) : ''
}
