import type { DecimalColumn } from '../api/types'
import { type Json, Num, Obj } from './json'

// Debezium's precise decimals are base64 of the unscaled value, a big-endian two's complement integer; what its scale is
// stands in the column's type, in Connect's schema around the record, or beside the value.

/** Such a decimal by its digits. */
export class Decimal extends Num {
  /** As it stands in the record. */
  readonly raw: Json
  constructor(text: string, raw: Json) {
    super(text)
    this.raw = raw
  }
}

/** How many digits PostgreSQL's numeric has behind its point at most. */
const mostScale = 16_383

/** A decimal, or each of a list of them; whatever is none stays what it is. */
export function decimal(v: Json, scale?: number): Json {
  if (Array.isArray(v)) return v.map((x) => decimal(x, scale))
  if (v instanceof Obj) {
    const [own, unscaled] = [v.get('scale'), v.get('value')]
    if (!(own instanceof Num) || typeof unscaled !== 'string') return v
    const text = /^(?:NaN|[+-]Infinity)$/.test(unscaled) ? unscaled : digits(unscaled, Number(own.text))
    return text === null ? v : new Decimal(text, v)
  }
  if (typeof v !== 'string' || scale === undefined) return v
  const text = digits(v, scale)
  return text === null ? v : new Decimal(text, v)
}

function digits(base64: string, scale: number): string | null {
  // What is no number is written as words, of which none has the length of base64.
  if (base64 === '' || base64.length % 4 !== 0 || !(Math.abs(scale) <= mostScale)) return null
  let bytes: string
  try {
    bytes = atob(base64)
  } catch {
    return null
  }
  const hex = Array.from(bytes, (b) => b.charCodeAt(0).toString(16).padStart(2, '0')).join('')
  const n = BigInt.asIntN(bytes.length * 8, BigInt(`0x${hex}`))
  const sign = n < 0n ? '-' : ''
  const all = `${n < 0n ? -n : n}`
  if (scale <= 0) return n === 0n ? '0' : `${sign}${all}${'0'.repeat(-scale)}`
  const padded = all.padStart(scale + 1, '0')
  return `${sign}${padded.slice(0, -scale)}.${padded.slice(-scale)}`
}

/** A table's row with its decimals as digits. */
export function rowDecimals(row: Json, columns: readonly DecimalColumn[]): Json {
  if (!(row instanceof Obj)) return row
  const scales = new Map(columns.map((c) => [c.column, c.scale]))
  return new Obj(row.members.map(([name, v]) => [name, scales.has(name) ? decimal(v, scales.get(name)) : v]))
}

/** A value with its decimals as digits, by Connect's schema of it. */
export function schemaDecimals(v: Json, schema: Json | undefined): Json {
  if (!(schema instanceof Obj)) return v
  const name = schema.get('name')
  if (name === 'org.apache.kafka.connect.data.Decimal') {
    const parameters = schema.get('parameters')
    const scale = parameters instanceof Obj ? parameters.get('scale') : undefined
    return typeof scale === 'string' ? decimal(v, Number(scale)) : v
  }
  if (name === 'io.debezium.data.VariableScaleDecimal') return decimal(v)
  if (Array.isArray(v)) return v.map((x) => schemaDecimals(x, schema.get('items')))
  const fields = schema.get('fields')
  if (!(v instanceof Obj) || !Array.isArray(fields)) return v
  const by = new Map(fields.filter((f) => f instanceof Obj).map((f) => [f.get('field'), f]))
  return new Obj(v.members.map(([n, x]) => [n, schemaDecimals(x, by.get(n))]))
}
