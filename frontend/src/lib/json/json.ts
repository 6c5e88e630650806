// JSON as it was written: 9007199254740993 and 1e400 stay what they are, and an object keeps its order and every
// member, also two of the same name. What is read comes from other people's systems, so that depth is bounded.

/** A number by its text; it never becomes one of JavaScript's. */
export class Num {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}

export class Obj {
  readonly members: readonly (readonly [name: string, value: Json])[]
  constructor(members: readonly (readonly [string, Json])[]) {
    this.members = members
  }

  /** The last member of that name, as filters take it. */
  get(name: string): Json | undefined {
    return this.members.findLast((m) => m[0] === name)?.[1]
  }
}

export type Json = null | boolean | string | Num | Obj | readonly Json[]

/** How deep what is read may be nested. */
export const mostDepth = 200

export class JsonError extends Error {}

/** Reads a text that is JSON; throws JsonError. */
export function readJson(text: string): Json {
  const r = new Reader(text)
  const v = r.value(0)
  r.space()
  if (r.at < text.length) r.fail('more than one value')
  return v
}

const number = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y

class Reader {
  at = 0
  readonly #text: string

  constructor(text: string) {
    this.#text = text
  }

  fail(what: string): never {
    throw new JsonError(`${what} at character ${this.at + 1}`)
  }

  space(): void {
    for (; ; this.at++) {
      const c = this.#text.charCodeAt(this.at)
      if (c !== 32 && c !== 10 && c !== 13 && c !== 9) return
    }
  }

  value(depth: number): Json {
    this.space()
    switch (this.#text[this.at]) {
      case '{':
        return this.#object(this.#deeper(depth))
      case '[':
        return this.#list(this.#deeper(depth))
      case '"':
        return this.#string()
      case 't':
        return this.#word('true', true)
      case 'f':
        return this.#word('false', false)
      case 'n':
        return this.#word('null', null)
      default:
        return this.#number()
    }
  }

  #deeper(depth: number): number {
    if (depth >= mostDepth) this.fail(`nested deeper than ${mostDepth}`)
    this.at++
    return depth + 1
  }

  #object(depth: number): Obj {
    const members: [string, Json][] = []
    this.space()
    if (this.#took('}')) return new Obj(members)
    for (;;) {
      this.space()
      if (this.#text[this.at] !== '"') this.fail('no name')
      const name = this.#string()
      this.space()
      if (!this.#took(':')) this.fail('no colon')
      members.push([name, this.value(depth)])
      this.space()
      if (this.#took('}')) return new Obj(members)
      if (!this.#took(',')) this.fail('no comma')
    }
  }

  #list(depth: number): Json[] {
    const items: Json[] = []
    this.space()
    if (this.#took(']')) return items
    for (;;) {
      items.push(this.value(depth))
      this.space()
      if (this.#took(']')) return items
      if (!this.#took(',')) this.fail('no comma')
    }
  }

  #took(c: string): boolean {
    if (this.#text[this.at] !== c) return false
    this.at++
    return true
  }

  #string(): string {
    const end = stringEnd(this.#text, this.at)
    if (end < 0) this.fail('a string without its end')
    const inner = this.#text.slice(this.at + 1, end - 1)
    // biome-ignore lint/suspicious/noControlCharactersInRegex: JSON has none of them in strings
    if (/[\\\u0000-\u001f]/.test(inner)) {
      try {
        const s = JSON.parse(this.#text.slice(this.at, end)) as string
        this.at = end
        return s
      } catch {
        this.fail('a string that is none')
      }
    }
    this.at = end
    return inner
  }

  #number(): Num {
    number.lastIndex = this.at
    const found = number.exec(this.#text)
    if (!found) this.fail('no value')
    this.at = number.lastIndex
    return new Num(found[0])
  }

  #word<T>(word: string, value: T): T {
    if (!this.#text.startsWith(word, this.at)) this.fail('no value')
    this.at += word.length
    return value
  }
}

/** Behind the string that begins at from; -1 where it has no end. */
function stringEnd(text: string, from: number): number {
  for (let i = from + 1; ; i++) {
    i = text.indexOf('"', i)
    if (i < 0) return -1
    let slashes = 0
    while (text.charCodeAt(i - 1 - slashes) === 92) slashes++
    if (slashes % 2 === 0) return i + 1
  }
}

/**
 * Reads an answer whose members of one name are left as the texts that they are: in their place stands the text's
 * number. The rest is the API's own, which has no number that JavaScript's could not hold.
 */
export function detach<T>(text: string, name: string): { rest: T; texts: string[] } {
  const texts: string[] = []
  const parts: string[] = []
  const marks = /["{}[\]]/g
  let taken = 0
  for (let m = marks.exec(text); m; m = marks.exec(text)) {
    if (m[0] !== '"') continue
    const end = stringEnd(text, m.index)
    if (end < 0) break
    marks.lastIndex = end
    if (text[end] !== ':' || end - m.index !== name.length + 2 || !text.startsWith(name, m.index + 1)) continue
    const after = valueEnd(text, end + 1)
    parts.push(text.slice(taken, end + 1), `${texts.length}`)
    texts.push(text.slice(end + 1, after))
    taken = after
    marks.lastIndex = after
  }
  parts.push(text.slice(taken))
  return { rest: JSON.parse(parts.join('')) as T, texts }
}

/** Behind the value that begins at from. */
function valueEnd(text: string, from: number): number {
  const c = text[from]
  if (c === '"') return stringEnd(text, from)
  if (c !== '{' && c !== '[') {
    const end = /[,}\]]/g
    end.lastIndex = from
    return end.exec(text)?.index ?? text.length
  }
  const marks = /["{}[\]]/g
  marks.lastIndex = from
  let depth = 0
  for (let m = marks.exec(text); m; m = marks.exec(text)) {
    if (m[0] === '"') marks.lastIndex = stringEnd(text, m.index)
    else if (m[0] === '{' || m[0] === '[') depth++
    else if (--depth === 0) return m.index + 1
  }
  return text.length
}

/** The value as JSON again, as it was written but for space; indented where asked for. */
export function writeJson(v: Json, indent = '', from = ''): string {
  if (v instanceof Num) return v.text
  if (v === null || typeof v !== 'object') return JSON.stringify(v)
  const inner = from + indent
  const [open, close, items] =
    v instanceof Obj
      ? ['{', '}', v.members.map(([k, x]) => `${JSON.stringify(k)}:${indent && ' '}${writeJson(x, indent, inner)}`)]
      : ['[', ']', v.map((x) => writeJson(x, indent, inner))]
  if (items.length === 0 || !indent) return open + items.join(',') + close
  return `${open}\n${inner}${items.join(`,\n${inner}`)}\n${from}${close}`
}
