import type { Column } from '../../components/shared/Grid.svelte'
import type { Field } from '../api/types'
import { Num, Obj } from '../json/json'
import { inLine, payloadText, type Row, steps, valueAt } from './records'

/** A column picked from what records hold: as it stands in links, and where it lies. */
export interface Picked {
  id: string
  of: Field['of']
  path: readonly string[]
  head: string
  num: boolean
}

export const changedColumn = '~changed'
export const valueColumn = '~value'
const special: Record<string, string> = { [changedColumn]: 'Changed fields', [valueColumn]: 'Value' }

/** How many columns may be picked. */
export const mostColumns = 12

export const columnId = (f: Pick<Field, 'of' | 'path'>): string => (f.of === 'value' ? f.path : `${f.of}:${f.path}`)

const scalar = new Set<Field['type']>(['integer', 'decimal', 'text', 'boolean', 'mixed'])

/** What is shown until somebody picks: the first fields that a row of the table has, or the value has. */
export function usualColumns(fields: readonly Field[]): string[] {
  const values = fields.filter((f) => f.of === 'value')
  const row = values.find((f) => /^(payload\.)?after$/.test(f.path) || /^(payload\.)?after\.[^.]+$/.test(f.path))
  const root = row ? `${row.path.startsWith('payload.') ? 'payload.' : ''}after.` : ''
  const keys = new Set(fields.filter((f) => f.of === 'key').map((f) => f.path.replace(/^payload\./, '')))
  const first = values
    .filter((f) => scalar.has(f.type) && f.path.startsWith(root))
    .map((f) => ({ id: columnId(f), name: f.path.slice(root.length) }))
    .filter((f) => steps(f.name).length === 1 && !keys.has(f.name))
    .slice(0, 3)
    .map((f) => f.id)
  const changes = root !== '' && values.some((f) => f.path.startsWith(`${root.replace(/after\.$/, 'before.')}`))
  return [...first, ...(changes ? [changedColumn] : []), ...(changes ? [] : [valueColumn])]
}

/** The ids in a link. */
export function readColumns(text: string): string[] {
  const ids = text.match(/(?:\\.|[^,\\])+/g) ?? []
  return [...new Set(ids)].slice(0, mostColumns)
}

export function picked(id: string, fields: readonly Field[]): Picked {
  const colon = /^(key|header):/.exec(id)
  const of = (colon?.[1] ?? 'value') as Field['of']
  const path = of === 'header' ? [id.slice('header:'.length)] : steps(colon ? id.slice(colon[0].length) : id)
  const field = fields.find((f) => columnId(f) === id)
  return { id, of, path, head: special[id] ?? path.at(-1) ?? id, num: field?.type === 'integer' || field?.type === 'decimal' }
}

export function gridColumns(all: readonly Picked[], dated: boolean, zone: string): Column[] {
  return [
    {
      id: 'time',
      head: `Time, ${zone}`,
      width: dated ? '136px' : '88px',
      mono: true,
      title: 'When the source committed the change where that is known, else the time of the record',
    },
    { id: 'p', head: 'P', width: '28px', num: true, mono: true, title: 'Partition' },
    { id: 'offset', head: 'Offset', width: '76px', num: true, mono: true },
    { id: 'op', head: 'Op', width: '58px' },
    { id: 'key', head: 'Key', width: 'minmax(96px, 1fr)', mono: true },
    ...all.map((c) => ({
      id: c.id,
      head: c.head,
      title: special[c.id] ?? c.id,
      num: c.num,
      mono: c.id !== changedColumn,
      width: Object.hasOwn(special, c.id) ? 'minmax(80px, 1.8fr)' : c.num ? 'minmax(64px, 0.7fr)' : 'minmax(76px, 1.4fr)',
    })),
  ]
}

/** What a row has in a picked column: what it is now, and what it was before where an update changed it. */
export function cellOf(row: Row, c: Picked): { text: string; was?: string; as: 'text' | 'number' | 'word' | 'none' } {
  if (c.of === 'header') {
    const h = row.record.headers?.findLast((x) => x.name === c.path[0])
    return h ? { text: payloadText(h.value), as: 'text' } : { text: '', as: 'none' }
  }
  if (c.of === 'key') return { text: payloadText(row.record.key), as: 'text' }
  const v = row.value
  const [side, ...rest] = row.whole !== v && c.path[0] === 'payload' ? c.path.slice(1) : c.path
  const deleted = side === 'after' && row.record.op === 'd'
  const at = deleted && v instanceof Obj ? valueAt(v.get('before'), rest) : valueAt(row.whole, c.path)
  const text = inLine(at)
  const cell = {
    text,
    as:
      at === undefined
        ? ('none' as const)
        : typeof at === 'string'
          ? ('text' as const)
          : at instanceof Num
            ? ('number' as const)
            : ('word' as const),
  }
  if (side !== 'after' || row.record.op !== 'u' || !(v instanceof Obj)) return cell
  const old = valueAt(v.get('before'), rest)
  const was = inLine(old)
  return old === undefined || was === text ? cell : { ...cell, was }
}
