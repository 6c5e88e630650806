import { describe, expect, test } from 'vitest'
import { celOf, coloured, type Line, linesOf, literalOf, quote, wrongIn } from './cel'

const line = (field: string, op: Line['op'], value: string, as: Line['as'] = 'text'): Line => ({ field, op, value, as })

describe('lines and their expression', () => {
  test.each<[Line[], string]>([
    [[line('value.op', 'is', 'u')], 'value.op == "u"'],
    [[line('value.after.total_cents', 'at_least', '50000', 'number')], 'value.after.total_cents >= 50000'],
    [[line('value.id', 'is', '9007199254740993', 'number')], 'value.id == 9007199254740993'],
    [[line('value.id', 'at_most', '18446744073709551615', 'number')], 'value.id <= 18446744073709551615u'],
    [[line('value.note', 'contains', 'a"b\\c\n\u202e')], String.raw`value.note.contains("a\"b\\c\n\u202e")`],
    [[line('value.name', 'begins', '<b>')], 'value.name.startsWith("<b>")'],
    [[line('value.after["odd name"]', 'is_not', 'true', 'other')], 'value.after["odd name"] != true'],
    [[line('value.after.gift', 'exists', '')], 'has(value.after.gift)'],
    [[line('headers["trace.id"]', 'exists', '')], '"trace.id" in headers'],
    [[line('key', 'exists', '')], 'key != null'],
    [[line('value.after.status', 'becomes', 'paid')], 'value.before.status != "paid" && value.after.status == "paid"'],
  ])('%j', (lines, cel) => {
    expect(celOf(lines)).toBe(cel)
    expect(linesOf(cel)).toEqual(lines)
  })
  test('several, and back', () => {
    const lines = [
      line('value.op', 'is', 'u'),
      line('value.after.status', 'becomes', 'paid'),
      line('value.after.total', 'at_least', '1.5', 'number'),
    ]
    expect(linesOf(celOf(lines))).toEqual(lines)
    expect(linesOf('')).toEqual([])
  })
  test('a line that is not done is left out', () => {
    expect(celOf([line('', 'is', 'x'), line('value.a', 'is', 'x', 'number'), line('value.b', 'is', 'y')])).toBe('value.b == "y"')
    expect(wrongIn(line('value.a', 'is', '99999999999999999999', 'number'))).toContain('64 bits')
    expect(wrongIn(line('key.id', 'becomes', '1', 'number'))).toContain('after')
  })
})

test.each([
  'value.a == 1 || value.b == 2',
  '!(value.a == 1)',
  'value.a > 1',
  'size(value.items) == 3',
  'value.items.exists(i, i.sku == "x")',
  'value.a == value.b',
  '(value.a == 1)',
  'value.a == 1 &&',
  'value.a == 1 value.b == 2',
  'true',
  'value.a == "unclosed',
  'value.a.matches("x")',
  r('"\\q" in headers'),
  'value[0] == 1',
  '<script>',
])('%s is no lines', (cel) => expect(linesOf(cel)).toBeNull())

function r(s: string): string {
  return s
}

test('how a value is written follows the type of the field', () => {
  expect(literalOf('integer', '5')).toBe('number')
  expect(literalOf('text', '5')).toBe('text')
  expect(literalOf('mixed', '5')).toBe('number')
  expect(literalOf('text', 'null')).toBe('text')
  expect(literalOf('integer', 'null')).toBe('other')
})

test('300 texts come through quoting', () => {
  for (let i = 0; i < 300; i++) {
    const text = `${String.fromCodePoint(i * 37)}"\\${String.fromCodePoint(0x1f600 + i)}\u202e\n'`
    if (/[\ud800-\udfff]/.test(String.fromCodePoint(i * 37))) continue
    expect(linesOf(`value.a == ${quote(text)}`)).toEqual([line('value.a', 'is', text)])
  }
})

test('what is drawn is the whole of it', () => {
  for (const cel of ['value.a == "x\\"y" && has(value.b) || value.c12 >= 1.5e3u', '"open', ''])
    expect(
      coloured(cel)
        .map((p) => p.text)
        .join(''),
    ).toBe(cel)
})
