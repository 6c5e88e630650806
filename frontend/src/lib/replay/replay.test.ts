import { describe, expect, test } from 'vitest'
import type { Counts, Job, JobShard, Plan, ReplayItem } from '../api/types'
import { changed, format, parse } from '../nav/route'
import { zoneChoice } from '../text/zone.svelte'
import { type Draft, draftChange, missing, planCommand, readDraft, readOffsets, toSpec } from './draft'
import { done, equation, gapOf, imbalance, jobAnswer, moves, percent, waits } from './job'
import { draftOf, effectOf, planAnswer, readDoc, shares, stepOf } from './plan'
import { readSample } from './sample'
import { fromField, toField } from './times'

const usual = { since: '2026-07-14T12:00:00.000Z', until: '' }
const empty = readDraft({}, usual)
/** A draft through the address and back. */
const travelled = (d: Draft): Draft =>
  readDraft(parse(format({ path: ['replay', 'new'], query: changed({}, draftChange(d, d)) })).query, usual)

describe('a draft in the address', () => {
  test.each<[string, Partial<Draft>]>([
    ['by time', { topic: 'shop.public.orders', since: '2026-07-14T12:00:00.000Z', until: '2026-07-14T12:02:00.000Z' }],
    ['by offsets', { topic: 't', by: 'offsets', offsets: ['0:9007199254740993-9007199254740999', '11:5-'] }],
    ['whole', { topic: 't/with/slashes', by: 'topic', all: 't/with/slashes' }],
    [
      'with everything, hostile',
      {
        cluster: 'real',
        topic: 'a&b=c#\u202e',
        filter: 'value.x == "a & b"\n&& true',
        key: '{"id":"?&="}',
        header: 'a=b=c',
        onError: 'drop',
        sink: 'copy',
        target: 'x/y',
        rate: '200',
        max: '5',
        title: 'Ü & 1',
        reason: '#4127',
        overlap: true,
      },
    ],
  ])('%s comes back as it was', (_name, d) => {
    const draft = { ...empty, ...d }
    expect(travelled(draft)).toEqual(draft)
  })
  test('what other screens send is understood', () => {
    const d = readDraft(
      parse('#/replay/new?source=embedded%2Ft&offsets=0%3A1-2&offsets=1%3A5-9&key=k&filter=true&to=warehouse').query,
      usual,
    )
    expect(d).toMatchObject({
      cluster: 'embedded',
      topic: 't',
      by: 'offsets',
      offsets: ['0:1-2', '1:5-9'],
      key: 'k',
      filter: 'true',
      sink: 'warehouse',
      target: '',
    })
    expect(readDraft(parse('#/replay/new?source=embedded%2Ft').query, usual)).toMatchObject({ by: 'time', ...usual })
  })
  test('says what is missing, step by step', () => {
    expect(missing(empty, 'range')).toBe('choose a topic')
    expect(missing({ ...empty, topic: 't', by: 'topic', all: 'T' }, 'range')).toBe('type the topic’s name')
    expect(missing({ ...empty, topic: 't', by: 'offsets' }, 'range')).toBe('choose a partition')
    expect(missing({ ...empty, topic: 't', by: 'offsets', offsets: ['0:9-3'] }, 'range')).toBe('0:9-3 is no range')
    expect(missing({ ...empty, topic: 't', until: '2026-07-14T11:00:00.000Z' }, 'range')).toBe('the range ends before it begins')
    expect(missing({ ...empty, topic: 't' }, 'range')).toBe('')
    expect(missing({ ...empty, rate: '1.5' }, 'shape')).toContain('rate')
    expect(missing({ ...empty, header: 'x' }, 'shape')).toContain('NAME=VALUE')
    expect(missing(empty, 'sink')).toBe('choose a sink')
  })
  test('becomes what the API takes, and the same command', () => {
    const d: Draft = {
      ...empty,
      topic: 't',
      by: 'offsets',
      offsets: ['0:1-2', '1:5-'],
      filter: "value.s == 'x'",
      sink: 'copy',
      target: 'again',
      rate: '200',
      onError: 'dlq',
      overlap: true,
    }
    expect(toSpec(d)).toEqual({
      source: 'embedded/t',
      offsets: ['0:1-2', '1:5-'],
      filter: "value.s == 'x'",
      to: 'copy/again',
      rate: 200,
      on_error: 'dlq',
      allow_overlap: true,
    })
    expect(planCommand(d)).toBe(
      `freshet replay plan --source embedded/t --offsets 0:1-2,1:5- --filter 'value.s == '\\''x'\\''' --on-error dlq --to copy/again --rate 200/s --allow-overlap --dry-run --sample 20`,
    )
    expect(toSpec({ ...empty, topic: 't', sink: 's' })).toEqual({ source: 'embedded/t', since: usual.since, to: 's' })
  })
  test('offsets are read exactly', () => {
    expect(readOffsets('0:9007199254740993-9007199254740994')).toEqual({ partition: 0, from: 9007199254740993n, to: 9007199254740994n })
    for (const s of ['', '0', '0:1', '0:-1', ':1-2', '0:a-b', '0:2-1']) expect(readOffsets(s)).toBeNull()
  })
  test('a time goes into its field and back, in the chosen zone', () => {
    for (const utc of [true, false]) {
      zoneChoice.utc = utc
      expect(fromField(toField('2026-07-14T12:00:05.000Z'))).toBe('2026-07-14T12:00:05.000Z')
    }
    zoneChoice.utc = true
    expect(toField('2026-07-14T12:00:05.000Z')).toBe('2026-07-14T12:00:05')
    zoneChoice.utc = false
    expect([toField(''), fromField('x'), fromField('')]).toEqual(['', '', ''])
  })
})

const zero: Counts = {
  offsets: '0',
  seen: '0',
  written: '0',
  filtered: '0',
  dlq: '0',
  in_doubt: '0',
  lost: '0',
  control: '0',
  aborted: '0',
  compacted: '0',
}
const shard = (s: Partial<JobShard>): JobShard => ({
  p: 0,
  state: 'RUNNING',
  start: '0',
  next: '0',
  end: '100',
  sink_next: '0',
  counts: zero,
  ...s,
})
const job = (j: Partial<Job>): Job => ({
  v: 1,
  kind: 'replay.job',
  job_id: 'jb_1',
  plan_id: 'pl_1',
  plan_hash: '',
  author: '',
  actor: '',
  cluster: 'embedded',
  topic: 't',
  sink: 'warehouse',
  epoch: 1,
  state: 'RUNNING',
  outcome: null,
  counts: zero,
  shards: [shard({})],
  rate: { records_per_s: 0, cap: 0 },
  audit: {},
  ...j,
})

describe('the count equation', () => {
  test('balances beyond 2^53', () => {
    const c = {
      ...zero,
      offsets: '9007199254740995',
      seen: '9007199254740993',
      control: '1',
      lost: '1',
      written: '9007199254740992',
      dlq: '1',
    }
    const sides = equation(c, true)
    expect(sides.map((s) => s.state)).toEqual(['balances', 'balances'])
    expect(imbalance(sides)).toBe('')
  })
  test('what is not read yet is open, and a lack at the end of a job is not', () => {
    const c = { ...zero, offsets: '10', seen: '4', written: '4' }
    expect(equation(c, false)[0]).toMatchObject({ left: 6n, state: 'open' })
    expect(imbalance(equation(c, true))).toBe('6 of offsets have no outcome')
  })
  test('says which side does not balance, and by how much', () => {
    expect(imbalance(equation({ ...zero, offsets: '4', seen: '4', written: '3' }, true))).toBe('1 of seen have no outcome')
    expect(imbalance(equation({ ...zero, offsets: '4', seen: '5', written: '5' }, false))).toBe('the outcomes come to 1 more than offsets')
    expect(imbalance(equation({ ...zero, offsets: '3', seen: '4', written: '5' }, true))).toBe(
      'the outcomes come to 1 more than offsets; the outcomes come to 1 more than seen',
    )
  })
})

describe('a job in a sentence', () => {
  const c = { ...zero, offsets: '100', seen: '100', written: '98', dlq: '1', in_doubt: '1' }
  test.each<[Partial<Job>, string, string]>([
    [{ shards: [shard({ next: '40' })], eta_s: 20 }, 'on_time', '40 of 100 offsets are done, 20.0 s of work left at the present rate.'],
    [
      { state: 'COMPLETED', outcome: 'clean', counts: { ...zero, offsets: '1', seen: '1', written: '1' } },
      'on_time',
      'Done: 1 record written to warehouse, and every offset of the range is accounted for.',
    ],
    [{ state: 'COMPLETED', outcome: 'exceptions', counts: c }, 'at_risk', 'Done, with exceptions: 1 record set aside, 1 in doubt.'],
    [{ state: 'COMPLETED', counts: { ...c, written: '97' } }, 'late', 'Done, with exceptions: 1 record set aside, 1 in doubt.'],
    [{ state: 'BLOCKED', blocked: 'gap' }, 'late', 'The log no longer holds part of the range. Accept the gap as lost, or cancel.'],
    [
      { state: 'BLOCKED', blocked: 'sink-down', resumes: true },
      'at_risk',
      'The sink does not answer. It goes on by itself once the sink answers.',
    ],
    [{ state: 'PAUSED' }, 'paused', 'Paused: 0 of 100 offsets are done.'],
  ])('%o', (j, state, first) => expect(jobAnswer(job(j))).toMatchObject({ state, first }))
  test('says that it does not balance', () =>
    expect(jobAnswer(job({ counts: { ...zero, offsets: '9', seen: '5', written: '4' } })).rest).toBe(
      'The counts do not balance: 1 of seen have no outcome.',
    ))
  test('how far, of whole numbers of any size', () => {
    expect(done(job({ shards: [shard({ start: '9007199254740993', next: '9007199254740994', end: '9007199254740997' })] }))).toEqual({
      done: 1n,
      of: 4n,
    })
    expect([percent(1n, 4n), percent(0n, 0n), percent(2n ** 62n, 2n ** 63n)]).toEqual([25, 100, 50])
  })
  test('a gap is what lies before the log’s beginning', () => {
    expect(gapOf(shard({ p: 3, next: '10' }), '25')).toEqual({ partition: 3, from: '10', to: '25' })
    expect(gapOf(shard({ next: '10' }), '250')).toEqual({ partition: 0, from: '10', to: '100' })
    expect([gapOf(shard({ next: '10' }), '10'), gapOf(shard({ next: '100' }), '250'), gapOf(shard({}), undefined)]).toEqual([
      null,
      null,
      null,
    ])
  })
  test('what waits for a person, and what moves by itself', () => {
    const item = (i: Partial<ReplayItem>): ReplayItem => ({ type: 'job', id: '', title: '', state: 'RUNNING', ...i })
    expect(waits(item({ state: 'BLOCKED' }))).toBe(true)
    expect(waits(item({ state: 'BLOCKED', resumes: true }))).toBe(false)
    expect(waits(item({ type: 'plan', state: 'READY' }))).toBe(true)
    expect(waits(item({ type: 'plan', state: 'CONSUMED' }))).toBe(false)
    expect([moves(item({})), moves(item({ state: 'COMPLETED' })), moves(item({ state: 'BLOCKED', resumes: true }))]).toEqual([
      true,
      false,
      true,
    ])
  })
})

describe('a plan', () => {
  const canonical = JSON.stringify({
    source: {
      conn: 'embedded',
      topic: 't',
      selected_by: { by: 'offsets' },
      ranges: [{ p: 0, start: '9007199254740993', end: '9007199254740996' }],
    },
    filter: { lang: 'cel', src: 'true', on_error: 'drop' },
    sink: { type: 'postgres', guarantee: 'effectively_once', conn: 'warehouse', write: { mode: 'upsert' } },
    rate: { records_per_s: 5 },
    limits: { max_records: 1, max_dlq: 1, max_in_doubt: 0, accept_gaps: false, allow_overlap: false },
    undo: { mode: 'none' },
    approval: { needed: 1, ttl_s: 1, max_runs: 1 },
    title: 'x',
    reason: '',
  })
  const evidence = {
    sha256: 'aa',
    at: '',
    seen: '10',
    filtered: '4',
    dropped: '1',
    would_write: '5',
    would_dlq: '1',
    largest_disorder_ms: '0',
    holes: { control: '0', aborted: '0', compacted: '0' },
    bytes: '1',
    est_seconds: null,
    samples: 0,
  }
  const plan = (p: Partial<Plan>): Plan => ({
    v: 1,
    kind: 'replay.plan',
    plan_id: 'pl_1',
    plan_hash: 'ab',
    state: 'READY',
    risk: 2,
    approvals_needed: 1,
    approvals_have: 0,
    approvals: [],
    warnings: [],
    canonical,
    evidence,
    ...p,
  })

  test('answers what would be written', () => {
    expect(planAnswer(plan({}), readDoc(canonical)).first).toBe(
      'If this is approved and run, it writes 5 records to warehouse; 5 of the range are left out.',
    )
    expect(planAnswer(plan({ evidence: { ...evidence, would_write: '0' } }), null).first).toBe('This would write nothing to its sink.')
    expect(readDoc('{')).toBeNull()
    expect(readDoc('{}')).toBeNull()
  })
  test('every record seen has one share', () => {
    const s = shares(evidence)
    expect(s.map((x) => [x.id, x.n])).toEqual([
      ['write', 5n],
      ['filtered', 3n],
      ['dropped', 1n],
      ['dlq', 1n],
    ])
    expect(s.reduce((n, x) => n + x.n, 0n)).toBe(10n)
  })
  test('says what an upsert does to rows that changed since', () =>
    expect(effectOf(readDoc(canonical) ?? ({} as never)).does).toContain('set back'))
  test('can be made again from its document', () => {
    expect(draftOf(readDoc(canonical) ?? ({} as never))).toMatchObject({
      cluster: 'embedded',
      topic: 't',
      by: 'offsets',
      offsets: ['0:9007199254740993-9007199254740996'],
      filter: 'true',
      onError: 'drop',
      sink: 'warehouse',
      rate: '5',
    })
  })
  test('stands at a step', () => {
    expect(stepOf(plan({ state: 'PLANNED' }))).toBe('dry')
    expect(stepOf(plan({}))).toBe('approve')
    expect(stepOf(plan({ approvals_needed: 0 }))).toBe('run')
    expect(stepOf(plan({ state: 'APPROVED', approvals_have: 1 }))).toBe('run')
    expect(stepOf(plan({ state: 'CONSUMED' }))).toBe('over')
  })
})

describe('a sample', () => {
  const s = (value: string) => readSample({ partition: 0, offset: '1', time: '', value })
  test('shows what changed first, with its numbers', () => {
    const c = s(
      '{"before":{"id":9007199254740993,"a":1.10},"after":{"id":9007199254740993,"a":1.1},"source":{"schema":"public","table":"orders"},"op":"u"}',
    )
    expect(c).toMatchObject({ op: 'update', table: 'public.orders' })
    expect(c.fields).toEqual([
      { name: 'a', old: '1.10', new: '1.1' },
      { name: 'id', old: '9007199254740993', new: '9007199254740993' },
    ])
  })
  test('also one within a schema, a delete, and what is no change', () => {
    expect(s('{"schema":{},"payload":{"before":{"id":1},"after":null,"op":"d"}}')).toMatchObject({
      op: 'delete',
      fields: [{ name: 'id', old: '1', new: undefined }],
    })
    expect(s('{"x":1}')).toMatchObject({ op: 'record', fields: [{ name: 'x', new: '1' }] })
    expect(s('{"x":1…')).toMatchObject({ op: 'record', text: '{"x":1…', fields: [] })
  })
})
