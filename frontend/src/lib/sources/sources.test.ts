import { describe, expect, test } from 'vitest'
import type { MapData, Reading, Sink, Source } from '../api/types'
import { behind, effects, fed, answer as sinkAnswer } from './sinks'
import { answer, cutOff, lsn, patterns, positions, properties, risk, showsPassword, withPassword, wrongName } from './sources'

const reading = (value: number | null, unit: string, why = ''): Reading =>
  value === null
    ? { value, low: null, high: null, unit, state: 'unknown', why, as_of: '' }
    : { value, low: value, high: value, unit, state: 'exact', as_of: '' }
const source = (more: Partial<Source> = {}, slot: Partial<NonNullable<Source['slot']>> = {}): Source => ({
  name: 'shop',
  type: 'postgres',
  cluster: 'embedded',
  state: 'streaming',
  tables: [],
  position: {},
  slot: {
    name: 'freshet_shop',
    active: true,
    wal_status: 'reserved',
    retained: reading(2 ** 20, 'B'),
    safe: reading(2 ** 31, 'B'),
    ...slot,
  },
  ...more,
})

describe('positions', () => {
  test('are 64 bits, and so are their distances', () => {
    expect(lsn('FFFFFFFF/FFFFFFFF')).toBe(2n ** 64n - 1n)
    expect(lsn('0/0')).toBe(0n)
    expect(lsn('nonsense')).toBeNull()
    expect(positions({ server: '2/0', received: '1/FFFFFFF0', appended: '2/10' }).map((p) => p.behind)).toEqual([null, 16n, 0n, null])
  })
})

describe('what is at risk on the database', () => {
  test('nothing, while the slot is read', () => {
    expect(risk(source()).words).toBe('')
    expect(answer([source()]).first).toBe('No: our slot on shop holds 1.0 MiB of WAL, and is read.')
  })
  test('a slot that is lost, about to be, paused, unread, stopped', () => {
    expect(risk(source({}, { wal_status: 'lost' })).state).toBe('late')
    expect(risk(source({}, { wal_status: 'unreserved' })).words).toContain('the next checkpoint')
    expect(risk(source({ state: 'paused' }, { growth: reading(2 ** 21, 'B/s') })).words).toBe(
      'shop is paused, and its slot goes on holding 1.0 MiB of WAL, 2.0 MiB/s more',
    )
    expect(risk(source({}, { active: false })).words).toContain('nobody reads our slot')
    expect(risk(source({ state: 'stopped', why: 'no right.' })).words).toBe(
      'the capture of shop has stopped: no right; its slot goes on holding 1.0 MiB of WAL',
    )
    expect(risk(source({}, { cut_off: reading(7200, 's') })).words).toContain('is cut off in about 2 h')
    expect(risk(source({}, { retained: reading(2 ** 31, 'B'), held_by: 'a transaction of role reporting' })).words).toContain(
      'for a transaction of role reporting',
    )
    expect(risk(source({}, { retained: reading(2 ** 35, 'B'), safe: reading(null, 'B', 'no limit') })).words).toContain('nothing limits it')
  })
  test('the worst is said first, the others after it', () => {
    const said = answer([source(), source({ name: 'crm', state: 'paused' }), source({ name: 'ledger' }, { wal_status: 'lost' })])
    expect(said.first).toContain('Yes: our slot on ledger is cut off')
    expect(said.details[0]).toContain('crm is paused')
  })
  test('what is not known is not no', () => {
    const s = source()
    delete s.slot
    expect(answer([s])).toMatchObject({ state: 'unknown', first: 'Not known: what our slot on shop holds is not known yet.' })
    expect(answer([]).first).toContain('nothing of ours is on any database')
    expect(cutOff(source({}, { safe: reading(null, 'B', 'unlimited'), cut_off: reading(null, 's', 'no limit') }).slot)).toEqual({
      words: 'no limit',
      note: 'unlimited',
    })
  })
})

describe('a connection string', () => {
  test('takes a password in, whatever is in it', () => {
    expect(withPassword('postgres://u@h:5432/d', "p@ss/w:d'")).toBe("postgres://u:p%40ss%2Fw%3Ad'@h:5432/d")
    expect(withPassword('postgresql://u:old@h/d', 'new')).toBe('postgresql://u:new@h/d')
    expect(withPassword('host=h user=u', "it's")).toBe("host=h user=u password='it\\'s'")
    expect(withPassword('@env:DSN', 'x')).toBe('@env:DSN')
  })
  test('with a password in sight is not put on a command line', () => {
    expect(showsPassword('postgres://u:p@h/d')).toBe(true)
    expect(showsPassword('host=h password=p')).toBe(true)
    expect(showsPassword('postgres://u@h/d')).toBe(false)
  })
})

test('patterns and names', () => {
  expect(patterns(' public.*, sales.orders\n')).toEqual(['public.*', 'sales.orders'])
  expect(properties(' decimal.handling.mode=string, skipped.operations=c,u ')).toEqual({
    'decimal.handling.mode': 'string',
    'skipped.operations': 'c,u',
  })
  expect(properties('column.exclude.list=a.b.c,a.b.d, column.mask.hash.v2.SHA-256.with.salt.@env:SALT=a.b.e')).toEqual({
    'column.exclude.list': 'a.b.c,a.b.d',
    'column.mask.hash.v2.SHA-256.with.salt.@env:SALT': 'a.b.e',
  })
  expect(properties('nonsense')).toEqual({ nonsense: '' })
  expect(wrongName('shop-1')).toBe('')
  expect(wrongName('a b')).not.toBe('')
})

describe('sinks', () => {
  const sink = (more: Partial<Sink> = {}): Sink => ({
    name: 'warehouse',
    type: 'postgres',
    state: 'running',
    parked: '0',
    topics: ['shop.*'],
    ...more,
  })
  const map = (state: string, seconds: number) =>
    ({
      nodes: [{ id: 'sink:warehouse', state }],
      edges: [],
      paths: [
        {
          path: 'orders → warehouse',
          table: 'public.orders',
          topic: 't',
          to: 'sink:warehouse',
          state,
          total: reading(seconds, 's'),
          trend: 'falling',
          eta: reading(190, 's'),
        },
      ],
    }) as unknown as MapData
  test('which is behind, and by how much', () => {
    expect(sinkAnswer([fed(sink(), map('late', 42))]).first).toBe(
      'warehouse is 42 s behind with orders, and catching up: about 3 min to go.',
    )
    expect(sinkAnswer([fed(sink(), map('on_time', 0.9))]).first).toBe('It is on time: warehouse is 900 ms behind with orders.')
    expect(behind(fed(sink({ state: 'paused', why: 'by hand.' }), null))).toBe('warehouse is paused: by hand')
    expect(behind(fed(sink(), null))).toContain('not known')
  })
  test('parked records of any number are counted', () => {
    expect(sinkAnswer([fed(sink({ parked: '9007199254740993' }), map('on_time', 1))]).details[0]).toBe(
      '9,007,199,254,740,993 records are parked, at warehouse',
    )
  })
  test('what it does to the target is said before', () => {
    const said = effects({ type: 'postgres', mode: 'upsert', topics: ['a'], from: 'latest' }).join('\n')
    expect(said).toContain('schema freshet')
    expect(said).toContain('with what is written from now on')
    expect(effects({ type: 'postgres', mode: 'append', no_create_tables: true }).join('\n')).toContain('a place to replay to')
    expect(effects({ type: 'http' })[0]).toContain('POST')
  })
})
