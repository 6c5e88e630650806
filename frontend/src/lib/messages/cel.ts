import type { Field } from '../api/types'

// The filter as lines to choose from, and as the expression that they stand for. Lines always have an expression; an
// expression has lines only where it is of their shape.

export const operators = {
  is: 'is',
  is_not: 'is not',
  at_least: 'at least',
  at_most: 'at most',
  contains: 'contains',
  begins: 'begins with',
  exists: 'exists',
  becomes: 'becomes',
} as const
export type Operator = keyof typeof operators

export type Literal = 'text' | 'number' | 'other'

export interface Line {
  /** As in the expression: value.after.status. */
  field: string
  op: Operator
  /** As typed: a text without its quotes. */
  value: string
  /** How the value is written. */
  as: Literal
}

/** How a value of a field is written: where records differ, by what it looks like. */
export function literalOf(type: Field['type'] | undefined, value: string): Literal {
  if (/^(true|false|null)$/.test(value) && type !== 'text') return 'other'
  if (type === 'integer' || type === 'decimal') return 'number'
  if (type === 'mixed' || type === undefined || type === 'null') return numberForm.test(value) ? 'number' : 'text'
  return type === 'boolean' ? 'other' : 'text'
}

const numberForm = /^-?\d+(\.\d+)?([eE][+-]?\d+)?$/

/** Why a line cannot be used; '' where it can. */
export function wrongIn(l: Line): string {
  if (!l.field) return 'choose a field'
  if (l.op === 'exists') return ''
  if (l.as === 'number') {
    if (!numberForm.test(l.value)) return l.value ? `“${l.value}” is no number` : 'give a number'
    if (/^-?\d+$/.test(l.value)) {
      const n = BigInt(l.value)
      if (n > 18446744073709551615n || n < -9223372036854775808n) return 'the number does not fit 64 bits'
    }
  }
  if (l.as === 'other' && !/^(true|false|null)$/.test(l.value)) return 'true, false or null'
  if (l.op === 'becomes' && !beforeOf(l.field)) return 'becomes is for fields of after'
  return ''
}

function written(l: Line): string {
  if (l.as === 'text') return quote(l.value)
  if (l.as === 'number' && /^\d+$/.test(l.value) && BigInt(l.value) > 9223372036854775807n) return `${l.value}u`
  return l.value
}

const beforeOf = (field: string): string => (/^value\.after\b/.test(field) ? field.replace('value.after', 'value.before') : '')

/** The expression of the lines that can be used. */
export function celOf(lines: readonly Line[]): string {
  return lines
    .filter((l) => wrongIn(l) === '')
    .map((l) => {
      const v = written(l)
      switch (l.op) {
        case 'is':
          return `${l.field} == ${v}`
        case 'is_not':
          return `${l.field} != ${v}`
        case 'at_least':
          return `${l.field} >= ${v}`
        case 'at_most':
          return `${l.field} <= ${v}`
        case 'contains':
          return `${l.field}.contains(${v})`
        case 'begins':
          return `${l.field}.startsWith(${v})`
        case 'becomes':
          return `${beforeOf(l.field)} != ${v} && ${l.field} == ${v}`
        case 'exists': {
          const m = /^(.*)\[("(?:[^"\\]|\\.)*")\]$/.exec(l.field)
          if (m) return `${m[2]} in ${m[1]}`
          return l.field.includes('.') ? `has(${l.field})` : `${l.field} != null`
        }
        default:
          return l.op satisfies never
      }
    })
    .join(' && ')
}

const escapes: Record<string, string> = { '\n': '\\n', '\r': '\\r', '\t': '\\t', '"': '\\"', '\\': '\\\\' }

/** A text as CEL writes it. What would hide or reorder is escaped. */
export function quote(text: string): string {
  return `"${text.replace(/["\\]|[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (c) => {
    const known = escapes[c]
    if (known) return known
    const n = c.codePointAt(0) ?? 0
    return n > 0xffff ? `\\U${n.toString(16).padStart(8, '0')}` : `\\u${n.toString(16).padStart(4, '0')}`
  })}"`
}

type Token = { kind: 'name' | 'number' | 'text' | 'mark'; text: string; raw: string }

const token =
  /\s*(?:([A-Za-z_]\w*)|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?u?)|("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|(&&|==|!=|>=|<=|[.()[\]]))/y

function tokens(source: string): Token[] | null {
  const all: Token[] = []
  const text = source.trimEnd()
  for (token.lastIndex = 0; token.lastIndex < text.length; ) {
    const m = token.exec(text)
    if (!m) return null
    if (m[1] !== undefined) all.push({ kind: 'name', text: m[1], raw: m[1] })
    else if (m[2] !== undefined) all.push({ kind: 'number', text: m[2], raw: m[2] })
    else if (m[4] !== undefined) all.push({ kind: 'mark', text: m[4], raw: m[4] })
    else {
      const t = unquote(m[3] ?? '')
      if (t === null) return null
      all.push({ kind: 'text', text: t, raw: quote(t) })
    }
  }
  return all
}

const simple: Record<string, string> = {
  n: '\n',
  r: '\r',
  t: '\t',
  a: '\x07',
  b: '\b',
  f: '\f',
  v: '\v',
  '"': '"',
  "'": "'",
  '\\': '\\',
  '`': '`',
  '?': '?',
}

function unquote(quoted: string): string | null {
  let wrong = false
  const text = quoted.slice(1, -1).replace(/\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|x([0-9a-fA-F]{2})|(.))/gu, (_, u, big, x, one) => {
    const digits = u ?? big ?? x
    if (digits !== undefined) {
      const n = Number.parseInt(digits, 16)
      if (n <= 0x10ffff) return String.fromCodePoint(n)
    } else if (Object.hasOwn(simple, one)) return simple[one] ?? ''
    wrong = true
    return ''
  })
  return wrong ? null : text
}

/** The lines that an expression stands for; null where it is of another shape. */
export function linesOf(source: string): Line[] | null {
  if (source.trim() === '') return []
  const all = tokens(source)
  if (!all) return null
  const p = new Parser(all)
  const lines: Line[] = []
  for (;;) {
    const l = p.line()
    if (!l) return null
    lines.push(l)
    if (p.done) break
    if (!p.took('&&')) return null
  }
  // A value that is another before and this after: it became it.
  for (let i = 0; i + 1 < lines.length; i++) {
    const [a, b] = [lines[i], lines[i + 1]]
    if (a?.op === 'is_not' && b?.op === 'is' && beforeOf(b.field) === a.field && a.value === b.value && a.as === b.as)
      lines.splice(i, 2, { ...b, op: 'becomes' })
  }
  return lines
}

class Parser {
  readonly #all: readonly Token[]
  #at = 0

  constructor(all: readonly Token[]) {
    this.#all = all
  }

  get done(): boolean {
    return this.#at >= this.#all.length
  }

  took(mark: string): boolean {
    const t = this.#all[this.#at]
    if (t?.kind === 'text' || t?.text !== mark) return false
    this.#at++
    return true
  }

  #next(kind: Token['kind']): Token | null {
    const t = this.#all[this.#at]
    if (t?.kind !== kind) return null
    this.#at++
    return t
  }

  line(): Line | null {
    const name = this.#next('text')
    if (name) {
      if (!this.took('in')) return null
      const base = this.#path()
      return base && !base.call ? { field: `${base.field}[${name.raw}]`, op: 'exists', value: '', as: 'text' } : null
    }
    if (this.took('has')) {
      if (!this.took('(')) return null
      const p = this.#path()
      return p && !p.call && this.took(')') ? { field: p.field, op: 'exists', value: '', as: 'text' } : null
    }
    const p = this.#path()
    if (!p) return null
    if (p.call) {
      const v = this.#next('text')
      if (!v || !this.took(')')) return null
      return { field: p.field, op: p.call, value: v.text, as: 'text' }
    }
    const op = this.took('==') ? 'is' : this.took('!=') ? 'is_not' : this.took('>=') ? 'at_least' : this.took('<=') ? 'at_most' : null
    const v = this.#all[this.#at++]
    if (!op || !v || v.kind === 'mark') return null
    if (v.kind === 'name') {
      if (!/^(true|false|null)$/.test(v.text)) return null
      if (v.text === 'null' && op === 'is_not' && !p.field.includes('.')) return { field: p.field, op: 'exists', value: '', as: 'text' }
      return { field: p.field, op, value: v.text, as: 'other' }
    }
    return { field: p.field, op, value: v.kind === 'number' ? v.text.replace(/u$/, '') : v.text, as: v.kind }
  }

  /** A path of names; call is set where one of the calls that lines have follows, and its bracket was read. */
  #path(): { field: string; call?: 'contains' | 'begins' } | null {
    const first = this.#next('name')
    if (!first || /^(true|false|null|in)$/.test(first.text)) return null
    let field = first.text
    for (;;) {
      if (this.took('.')) {
        const n = this.#next('name')
        if (!n) return null
        if (this.took('('))
          return n.text === 'contains' ? { field, call: 'contains' } : n.text === 'startsWith' ? { field, call: 'begins' } : null
        field += `.${n.text}`
      } else if (this.took('[')) {
        const n = this.#next('text')
        if (!n || !this.took(']')) return null
        field += `[${n.raw}]`
      } else return { field }
    }
  }
}

/** The expression a line a condition, with what each part is, to be drawn. */
export function coloured(source: string): { text: string; as: 'text' | 'number' | 'word' | '' }[] {
  const parts: { text: string; as: 'text' | 'number' | 'word' | '' }[] = []
  for (const m of source.matchAll(
    /("(?:[^"\\]|\\.)*")|(\b\d[\w.]*)|(\b(?:true|false|null|in|has)\b|&&|\|\|)|[^"\d&|a-z]+|[a-z]\w*|[\s\S]/gi,
  ))
    parts.push({ text: m[0], as: m[1] ? 'text' : m[2] ? 'number' : m[3] ? 'word' : '' })
  return parts
}
