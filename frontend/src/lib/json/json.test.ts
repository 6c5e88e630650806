import { describe, expect, test } from 'vitest'
import { detach, type Json, JsonError, mostDepth, Num, Obj, readJson, writeJson } from './json'

describe('what is read is what was written', () => {
  test.each([
    '9007199254740993',
    '-9223372036854775808',
    '18446744073709551615',
    '1e400',
    '-0',
    '0.10',
    '1E-7',
    '12345678901234567890.000000000000000001',
  ])('the number %s', (text) => {
    const v = readJson(` ${text} `)
    expect(v).toBeInstanceOf(Num)
    expect((v as Num).text).toBe(text)
    expect(writeJson(v)).toBe(text)
  })
  test('an object keeps its order and both members of one name', () => {
    const text = '{"b":1,"a":2,"b":3,"__proto__":{"x":1},"":null}'
    const v = readJson(text) as Obj
    expect(v.members.map((m) => m[0])).toEqual(['b', 'a', 'b', '__proto__', ''])
    expect((v.get('b') as Num).text).toBe('3')
    expect(v.get('constructor')).toBeUndefined()
    expect(writeJson(v)).toBe(text)
  })
  test('strings with every escape, and lone surrogates', () => {
    expect(readJson(String.raw`"a\"\\\/\b\f\n\r\té\ud83d\ude9a"`)).toBe('a"\\/\b\f\n\r\té🚚')
    expect(readJson(String.raw`"\ud800"`)).toBe('\ud800')
    expect(readJson('"ends with a slash \\\\"')).toBe('ends with a slash \\')
  })
  test('is indented on demand', () => {
    expect(writeJson(readJson('{"a":[1,{}],"b":"x"}'), '  ')).toBe('{\n  "a": [\n    1,\n    {}\n  ],\n  "b": "x"\n}')
  })
})

describe('what is not JSON is refused', () => {
  test.each([
    '',
    '{',
    '[1,]',
    '{"a":1,}',
    '{a:1}',
    '01',
    '1.',
    '+1',
    'NaN',
    '"a',
    '"\u0001"',
    '"\\x"',
    'nul',
    '1 2',
    '[1 2]',
    '{"a" 1}',
    "'a'",
  ])('%j', (text) => expect(() => readJson(text)).toThrow(JsonError))
  test('too deep, without running out of stack', () => {
    const deep = (n: number) => '['.repeat(n) + ']'.repeat(n)
    expect(writeJson(readJson(deep(mostDepth)))).toBe(deep(mostDepth))
    expect(() => readJson(deep(mostDepth + 1))).toThrow(/nested deeper than 200/)
    expect(() => readJson('{"a":'.repeat(1_000_000))).toThrow(JsonError)
  })
})

/** 300 strings made of what breaks programs, from a seed. */
function hostile(): string[] {
  const parts = [
    '<img src=x onerror=alert(1)>',
    '\u202e',
    '"',
    '\\',
    '\\"',
    '\0',
    '\n',
    '{',
    '}',
    '[',
    ']',
    ':',
    ',',
    '🚚',
    'שלום',
    '\u200b',
    '\ud800',
    "'--",
    '$(id)',
    '"decoded":',
    'x'.repeat(10_000),
  ]
  let seed = 42
  const next = (n: number) => {
    seed = (seed * 1_103_515_245 + 12_345) & 0x7fffffff
    return seed % n
  }
  return Array.from({ length: 300 }, () => Array.from({ length: 1 + next(6) }, () => parts[next(parts.length)]).join(''))
}

test('300 hostile strings as names and values, in an answer and out of it', () => {
  const all = hostile()
  const text = JSON.stringify(Object.fromEntries(all.map((s, i) => [`${i}${s}`, s])))
  const v = readJson(text) as Obj
  expect(v.members.map((m) => m[1])).toEqual(all)
  expect(JSON.parse(writeJson(v))).toEqual(JSON.parse(text))
  const answer = JSON.stringify({ items: all.map((s) => ({ key: s, decoded: { [s]: s }, after: s })), scan: { decoded: 'x' } })
  const { rest, texts } = detach<{ items: { key: string; decoded: number; after: string }[] }>(answer, 'decoded')
  expect(texts).toHaveLength(301)
  for (const [i, s] of all.entries()) {
    expect(rest.items[i]).toEqual({ key: s, decoded: i, after: s })
    expect(readJson(texts[i] ?? '') as Json).toEqual(new Obj([[s, s]]))
  }
})

test('what is detached keeps its numbers, whatever it is', () => {
  const values = ['9007199254740993', '{"a":[1e400,"]}"],"decoded":{"x":-0}}', '"decoded"', 'null', '[]', '[[["\\""]]]']
  const { rest, texts } = detach<{ decoded: number; n: number }[]>(`[${values.map((v) => `{"decoded":${v},"n":1}`).join(',')}]`, 'decoded')
  expect(texts).toEqual(values)
  expect(rest.map((r) => r.n)).toEqual(values.map(() => 1))
})
