import { describe, expect, test } from 'vitest'
import type { Field, LogRecord } from '../api/types'
import { keyAsProduced } from './ask'
import { cellOf, picked, readColumns, usualColumns } from './columns'
import { copyRecord } from './copy'
import { fieldDiff } from './diff'
import { hexLine } from './hex'
import { exportOf, mergedRanges, rangeWord } from './ranges'
import { changedFields, keyWord, pathOf, payloadText, Row, readPlace, readRecords, steps } from './records'

const record = (more: Partial<LogRecord> = {}): LogRecord => ({
  topic: 't',
  partition: 3,
  offset: '9007199254740993',
  time: '2026-11-24T14:00:00.000Z',
  time_type: 'CreateTime',
  ...more,
})
const change = (before: string, after: string, op = 'u') => new Row(record({ op }), `{"before":${before},"after":${after},"op":"${op}"}`)
const field = (path: string, type: Field['type'] = 'text', of: Field['of'] = 'value'): Field => ({
  path,
  of,
  type,
  cel: '',
  records: 1,
  examples: [],
})

test('an answer is read without losing a digit', () => {
  const text = `{"items":[${JSON.stringify({ ...record(), decoded: 0 }).replace('"decoded":0', '"decoded":{"n":1e400,"m":9007199254740993}')}],"scan":{"window":[]}}`
  const row = readRecords(text).rows[0]
  expect(row?.id).toBe('3:9007199254740993')
  expect(row && cellOf(row, picked('m', [])).text).toBe('9007199254740993')
  expect(row && cellOf(row, picked('n', [])).text).toBe('1e400')
})

describe('columns', () => {
  test('are the fields of the row, without those of the key', () => {
    const fields = [
      field('before', 'null'),
      field('before.id'),
      field('after', 'object'),
      field('after.id'),
      field('after.status'),
      field('after.total', 'decimal'),
      field('after.tags', 'list'),
      field('op'),
      field('id', 'integer', 'key'),
    ]
    expect(usualColumns(fields)).toEqual(['after.status', 'after.total', '~changed'])
    expect(usualColumns([field('name'), field('deep.name')])).toEqual(['name', '~value'])
    expect(usualColumns([])).toEqual(['~value'])
  })
  test('names with dots and commas come through', () => {
    const id = pathOf(['after', 'a.b,c\\'])
    expect(steps(id)).toEqual(['after', 'a.b,c\\'])
    expect(readColumns(`${id},x`)).toEqual([id, 'x'])
  })
  test('say what an update changed, and a delete what it deleted', () => {
    expect(cellOf(change('{"s":"placed"}', '{"s":"paid"}'), picked('after.s', []))).toMatchObject({ text: 'paid', was: 'placed' })
    expect(cellOf(change('{"s":"placed"}', 'null', 'd'), picked('after.s', [])).text).toBe('placed')
    expect(changedFields(change('{"a":1,"b":2}', '{"a":1,"b":3}'))).toEqual(['b'])
    expect(changedFields(change('null', '{"a":1}'))).toBeNull()
  })
})

test('a difference tells 1 from "1", and a member that is gone from one that is null', () => {
  const row = change('{"a":1,"gone":null,"o":{"x":1}}', '{"a":"1","new":0,"o":{"x":1}}')
  expect(fieldDiff(row.before, row.after).map((d) => `${d.kind} ${pathOf(d.path)}`)).toEqual([
    'changed a',
    'added new',
    'same o.x',
    'removed gone',
  ])
})

describe('selected records', () => {
  test('become ranges', () => {
    expect(mergedRanges(['1:7', '0:5', '1:5', '1:6', '1:9', 'x', '1:6']).map(rangeWord)).toEqual(['0:5-6', '1:5-8', '1:9-10'])
    expect(mergedRanges(['0:9223372036854775806']).map(rangeWord)).toEqual(['0:9223372036854775806-9223372036854775807'])
  })
  test('are exported as exactly these', () => {
    expect(exportOf(mergedRanges(['0:5', '0:6', '1:9']))).toEqual({ at: '0:5,1:9', before: '0:7,1:10' })
    expect(exportOf(mergedRanges(['0:5', '0:8', '0:9']))?.filter).toBe(
      'partition == 0 && offset == 5 || partition == 0 && offset >= 8 && offset < 10',
    )
    expect(exportOf(mergedRanges(Array.from({ length: 1000 }, (_, i) => `0:${i * 2}`)))).toBeNull()
  })
})

test('a key is written as its producer wrote the others', () => {
  expect(keyAsProduced('{"id":16}', '17')).toBe('{"id":17}')
  expect(keyAsProduced('{"id":"a"}', '17')).toBe('{"id":"17"}')
  expect(keyAsProduced('{"id": 16}', '17')).toBeNull()
  expect(keyAsProduced('{"a":1,"b":2}', '17')).toBeNull()
  expect(keyAsProduced('plain', '17')).toBe('17')
  expect(keyAsProduced(undefined, '17')).toBeNull()
})

test('bytes are shown as they are', () => {
  expect(payloadText({ base64: 'AP8=', size: 2 })).toBe('0x00ff (2 B)')
  expect(payloadText({ size: 0 })).toBe('empty')
  expect(payloadText(undefined)).toBe('null')
  expect(keyWord(record({ key: { text: '{"id":9007199254740993}', size: 23 } }))).toBe('9007199254740993')
  expect(hexLine(new Uint8Array([0, 65, 255]), 0)).toEqual({ at: '00000', digits: '00 41 ff', text: '·A·' })
  expect(readPlace('0:18446744073709551616')).toBeNull()
})

test('a Go fixture is Go whatever is in it', () => {
  const at = { origin: 'http://127.0.0.1:1', broker: '' }
  const text = (key: string) =>
    copyRecord(new Row(record({ key: { text: key, size: key.length } })), '', at).find((l) => l.as === 'Go fixture')?.text
  expect(text('{"id":1}')).toContain('Key:   []byte(`{"id":1}`)')
  expect(text('a`\u202e\u007f"')).toContain('[]byte("a`\\u202e\\u007f\\"")')
})
