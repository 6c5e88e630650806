import { describe, expect, test } from 'vitest'
import { Decimal, decimal, rowDecimals, schemaDecimals } from './decimals'
import { type Obj, readJson, writeJson } from './json'

const said = (json: string, scale?: number) => writeJson(decimal(readJson(json), scale))

describe('decimals', () => {
  test('to the last digit', () => {
    expect(said('"QWA="', 2)).toBe('167.36')
    expect(said('"/w=="', 2)).toBe('-0.01')
    expect(said('"AA=="', 2)).toBe('0.00')
    expect(said('"AQAAAAAAAAAA"', 3)).toBe('18446744073709551.616')
    expect(said('"fw=="', 0)).toBe('127')
    expect(said('"gA=="', -3)).toBe('-128000')
    expect(said('{"scale":4,"value":"QWA="}')).toBe('1.6736')
    expect(said('["QWA=",null,"/w=="]', 2)).toBe('[167.36,null,-0.01]')
  })
  test('what is none stays what it is', () => {
    for (const json of [
      '"not base64!"',
      '"NaN"',
      '"+Infinity"',
      '""',
      '"167.360"',
      '12.5',
      'null',
      '{"scale":"4","value":"QWA="}',
      '{"scale":99999,"value":"QWA="}',
    ])
      expect(said(json, 2)).toBe(json)
    expect(said('"QWA="')).toBe('"QWA="')
    expect(said('{"scale":0,"value":"NaN"}')).toBe('NaN')
  })
  test('of a row, by its columns', () => {
    const row = rowDecimals(readJson('{"id":1,"total":"QWA=","note":"QWA=","any":{"scale":1,"value":"QWA="}}'), [
      { column: 'total', scale: 2 },
      { column: 'any' },
    ])
    expect(writeJson(row)).toBe('{"id":1,"total":167.36,"note":"QWA=","any":1673.6}')
    expect((row as Obj).get('total')).toEqual(new Decimal('167.36', 'QWA='))
    expect(rowDecimals(null, [])).toBeNull()
  })
  test("by Connect's schema", () => {
    const dec = '{"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2","connect.decimal.precision":"14"}'
    const schema = `{"type":"struct","fields":[{"type":"struct","field":"after","fields":[{"type":"int64","field":"id"},${dec},"field":"total"},{"type":"array","items":${dec}},"field":"all"},{"type":"struct","name":"io.debezium.data.VariableScaleDecimal","field":"any"}]},{"type":"string","field":"op"}]}`
    const v = readJson('{"after":{"id":1,"total":"QWA=","all":["/w=="],"any":{"scale":1,"value":"QWA="}},"op":"c","more":"QWA="}')
    expect(writeJson(schemaDecimals(v, readJson(schema)))).toBe(
      '{"after":{"id":1,"total":167.36,"all":[-0.01],"any":1673.6},"op":"c","more":"QWA="}',
    )
    expect(writeJson(schemaDecimals(v, null))).toBe(writeJson(v))
  })
})
