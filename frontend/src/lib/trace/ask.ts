import { query } from '../api/client'
import type { MapData, Source } from '../api/types'
import { clusterOf } from '../history'
import { Num, Obj, readJson } from '../json/json'
import type { CopyLine, Place } from '../text/copy'
import { shellWord } from '../text/visible'
import type { Held, Log, Version } from './trace'

/** Whose row it is: a table that sources capture, or the records of a topic. */
export interface Where {
  table?: string
  topic?: string
  cluster?: string
}

export const whereId = (w: Where): string => (w.table ? `table:${w.table}` : w.topic ? `topic:${w.cluster ?? 'embedded'}/${w.topic}` : '')

export const whereName = (w: Where): string => w.table || w.topic || ''

/** All that a row can be looked for in: tables once, though several sources may capture one; then topics of no table. */
export function places(sources: readonly Source[], map: MapData | null): { tables: Where[]; topics: Where[] } {
  const tables = new Map<string, Where>()
  const captured = new Set<string>()
  for (const s of sources)
    for (const t of s.tables) {
      tables.set(t.table, { table: t.table })
      captured.add(`${s.cluster}/${t.topic}`)
    }
  const topics = (map?.nodes ?? [])
    .filter((n) => n.lane === 'topic' && !captured.has(`${clusterOf(n)}/${n.ref}`))
    .map((n): Where => ({ topic: n.ref, cluster: clusterOf(n) }))
  const byName = (a: Where, b: Where) => (whereName(a) < whereName(b) ? -1 : 1)
  return { tables: [...tables.values()].sort(byName), topics: topics.sort(byName) }
}

/** What was asked last in this tab: keys are somebody's data, so that they go with it. */
export interface Asked extends Where {
  key: string
}

const mostAsked = 12
const stored = 'freshet.traced'

export function asked(): Asked[] {
  try {
    const all: unknown = JSON.parse(sessionStorage.getItem(stored) ?? '[]')
    return Array.isArray(all) ? all.filter((a) => typeof a?.key === 'string') : []
  } catch {
    return []
  }
}

export function remember(a: Asked): Asked[] {
  const id = (x: Asked) => `${whereId(x)} ${x.key}`
  const all = [a, ...asked().filter((b) => id(b) !== id(a))].slice(0, mostAsked)
  try {
    sessionStorage.setItem(stored, JSON.stringify(all))
  } catch {
    // No storage: the list is only what was asked now.
  }
  return all
}

/** The columns of a record's key, where it is a JSON object. */
export function keyColumns(key: string): [name: string, value: string][] {
  try {
    let k = readJson(key)
    if (k instanceof Obj && k.get('payload') instanceof Obj && k.get('schema') !== undefined) k = k.get('payload') ?? k
    if (!(k instanceof Obj)) return []
    return k.members.flatMap(([name, v]): [string, string][] =>
      v instanceof Num
        ? [[name, v.text]]
        : typeof v === 'string'
          ? [[name, `'${v.replaceAll("'", "''")}'`]]
          : typeof v === 'boolean'
            ? [[name, `${v}`]]
            : [],
    )
  } catch {
    return []
  }
}

/** A key as a person says it: the value of its only column, else as it is. */
export function keyWord(key: string): string {
  const columns = keyColumns(key)
  const [only] = columns
  return columns.length === 1 && only ? only[1].replace(/^'(.*)'$/s, '$1').replaceAll("''", "'") : key
}

const identifier = (name: string): string => (/^[a-z_][a-z0-9_]*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`)

/** The parts of SCHEMA.TABLE; a sink's are in quotes. */
function parts(table: string): string[] {
  if (table.startsWith('"')) return [...table.matchAll(/"((?:[^"]|"")*)"/g)].map((m) => (m[1] ?? '').replaceAll('""', '"'))
  const dot = table.indexOf('.')
  return dot < 0 ? [table] : [table.slice(0, dot), table.slice(dot + 1)]
}

export const tableWord = (table: string): string => parts(table).join('.')

function select(table: string, key: string): string {
  const columns = keyColumns(key)
  if (!columns.length) return ''
  const from = parts(table).map(identifier).join('.')
  return `SELECT * FROM ${from} WHERE ${columns.map(([n, v]) => `${identifier(n)} = ${v}`).join(' AND ')};`
}

/** What the screen shows, as lines for a terminal. */
export function copyTrace(q: Asked, log: Log | undefined, newest: Version | undefined, held: readonly Held[], at: Place): CopyLine[] {
  const lines: CopyLine[] = []
  if (q.table) lines.push({ as: 'Freshet', text: `freshet trace ${shellWord(q.table)} ${shellWord(q.key)}` })
  else if (log) lines.push({ as: 'Freshet', text: `freshet topics read ${shellWord(log.topic)} --key ${shellWord(q.key)}` })
  lines.push({
    as: 'curl',
    text: `curl -sH "Authorization: Bearer $FRESHET_TOKEN" ${shellWord(`${at.origin}/api/trace${query({ table: q.table, topic: q.topic, cluster: q.cluster, key: q.key })}`)}`,
  })
  const key = newest?.key ?? q.key
  const own = q.table ? select(q.table, key) : ''
  if (own) lines.push({ as: 'SQL', text: own })
  for (const h of held) {
    const text = h.table ? select(h.table, key) : ''
    if (text && text !== own) lines.push({ as: `SQL, ${h.sink}`, text })
  }
  return lines
}

/** The API's question. */
export const traceQuery = (q: Asked) => ({ table: q.table, topic: q.table ? undefined : q.topic, cluster: q.cluster, key: q.key })

/** A link that plans a replay, into one sink. */
export const sinkHere = (link: string, sink: string): string => `${link}&${new URLSearchParams({ to: sink })}`
