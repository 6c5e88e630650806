import { describe, expect, test } from 'vitest'
import type { Stage } from '../api/types'
import { addLine, draftTrouble, emptyDraft, grantLine, lockWords, specOf, testWords } from './cluster'

const draft = { ...emptyDraft(), name: 'prod', brokers: 'kafka-1:9092, kafka-2:9092' }
const stage = (stage: string, state: Stage['state'], more: Partial<Stage> = {}): Stage => ({
  stage,
  state,
  ok: state === 'ok',
  detail: '',
  took_s: 0.01,
  ...more,
})

describe('a draft', () => {
  test.each([
    [{ name: '' }, 'name'],
    [{ name: 'embedded' }, 'local broker'],
    [{ brokers: '' }, 'HOST:PORT'],
    [{ brokers: 'kafka' }, 'kafka is not HOST:PORT'],
    [{ tls: true, cert: 'a.pem' }, 'together'],
    [{ sasl: 'plain' as const, user: 'u' }, 'password'],
  ])('%j is refused', (change, why) => expect(draftTrouble({ ...draft, ...change })).toContain(why))
  test('is sent without what it does not use', () => {
    expect(draftTrouble({ ...draft, brokers: '[::1]:9092' })).toBe('')
    expect(specOf({ ...draft, ca: 'ca.pem', user: 'u', password: 'p' })).toEqual({
      name: 'prod',
      brokers: ['kafka-1:9092', 'kafka-2:9092'],
    })
  })
  test('its line never has the password', () => {
    const line = addLine({ ...draft, tls: true, sasl: 'scram-sha-512', user: 'ro', password: 'geheim' })
    expect(line).toContain('--password @env:KAFKA_PASSWORD')
    expect(line).not.toContain('geheim')
  })
})

describe('a test', () => {
  test('a right that is missing is said with what it costs', () => {
    const w = testWords('prod', [stage('dns', 'ok'), stage('read sizes', 'denied', { without: 'how many bytes topics take' })])
    expect(w).toMatchObject({ state: 'at_risk', first: 'prod answers, and one right is missing.' })
    expect(w.rest).toContain('how many bytes topics take')
    expect(w.details[0]).toBe('1 of 2 checks passed in 20 ms')
  })
  test('the stage that failed is named; what was not tried is no failure', () => {
    expect(
      testWords('prod', [stage('dns', 'ok'), stage('tcp', 'failed', { next: 'open the port' }), stage('metadata', 'not_tried')]),
    ).toMatchObject({ state: 'late', first: 'prod cannot be used: TCP failed.', rest: 'open the port' })
  })
  test('a denied right has the line that grants it, in one word a part', () => {
    const line = grantLine(stage('read topic settings', 'denied'), { brokers: 'k:9092', user: 'a b' })
    expect(line).toContain("'User:a b' --operation DescribeConfigs --topic '*'")
    expect(grantLine(stage('constructor', 'denied'), draft)).toBe('')
    expect(grantLine(stage('read sizes', 'ok'), draft)).toBe('')
  })
})

test('what a cluster lets through', () => {
  const now = Date.parse('2026-11-24T14:00:00Z')
  expect(lockWords({ type: 'kafka', read_only: true }, now)).toBe('read-only')
  expect(lockWords({ type: 'kafka', read_only: false, unlocked_until: '2026-11-24T15:30:00Z', unlocked_acts: ['produce'] }, now)).toMatch(
    /1 h 30 min left: produce/,
  )
})
