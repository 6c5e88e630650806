import type { Cluster, ClusterSpec, Stage } from '../api/types'
import { clock, duration, plural } from '../text/format'
import { shellWord } from '../text/visible'

/** What a person types of a cluster. */
export interface Draft {
  name: string
  brokers: string
  tls: boolean
  ca: string
  cert: string
  key: string
  sasl: '' | Mechanism
  user: string
  password: string
  /** Where the server has the password, which the page never gets; '' nowhere. */
  kept: string
}

export type Mechanism = 'plain' | 'scram-sha-256' | 'scram-sha-512'

export const mechanisms: Record<Mechanism, string> = { plain: 'PLAIN', 'scram-sha-256': 'SCRAM-SHA-256', 'scram-sha-512': 'SCRAM-SHA-512' }

export const emptyDraft = (): Draft => ({
  name: '',
  brokers: '',
  tls: false,
  ca: '',
  cert: '',
  key: '',
  sasl: '',
  user: '',
  password: '',
  kept: '',
})

export const brokersOf = (typed: string): string[] => typed.split(/[\s,]+/).filter(Boolean)

/** Why a draft cannot be tested; '' where it can. */
export function draftTrouble(d: Draft): string {
  if (!d.name.trim()) return 'Give it a name'
  if (d.name.trim() === 'embedded') return 'embedded is the local broker: choose another name'
  const brokers = brokersOf(d.brokers)
  if (!brokers.length) return 'Give one broker at least, as HOST:PORT'
  const bad = brokers.find((b) => !/^(?:\[[^\]]+\]|[^:]+):\d{1,5}$/.test(b))
  if (bad) return `${bad} is not HOST:PORT`
  if (d.tls && (d.cert === '') !== (d.key === '')) return 'Give the certificate and its key together'
  if (d.sasl && (!d.user || !(d.password || d.kept))) return 'Give the user and the password'
  return ''
}

export function specOf(d: Draft): ClusterSpec {
  return {
    name: d.name.trim(),
    brokers: brokersOf(d.brokers),
    ...(d.tls ? { tls: true, ...(d.ca ? { tls_ca: d.ca } : {}), ...(d.cert ? { tls_cert: d.cert, tls_key: d.key } : {}) } : {}),
    ...(d.sasl ? { sasl: d.sasl, user: d.user, ...(d.kept && !d.password ? { password_from: d.kept } : { password: d.password }) } : {}),
  }
}

/** The command line that does the same. A password in the clear is not in it. */
export function addLine(d: Draft): string {
  const words = [
    'freshet clusters add',
    shellWord(d.name.trim() || 'NAME'),
    '--brokers',
    shellWord(brokersOf(d.brokers).join(',') || 'HOST:9092'),
  ]
  if (d.tls) words.push('--tls')
  if (d.tls && d.ca) words.push('--tls-ca', shellWord(d.ca))
  if (d.tls && d.cert) words.push('--tls-cert', shellWord(d.cert), '--tls-key', shellWord(d.key))
  if (d.sasl)
    words.push(
      '--sasl',
      d.sasl,
      '--user',
      shellWord(d.user || 'USER'),
      '--password',
      d.password.startsWith('@') ? shellWord(d.password) : '@env:KAFKA_PASSWORD',
    )
  return words.join(' ')
}

export interface TestWords {
  state: 'on_time' | 'at_risk' | 'late'
  first: string
  rest: string
  details: string[]
}

const tookOf = (stages: readonly Stage[]) => stages.reduce((s, x) => s + (x.took_s ?? 0), 0)

/** What a test found, in a sentence. */
export function testWords(name: string, stages: readonly Stage[]): TestWords {
  const tried = stages.filter((s) => s.state !== 'not_tried')
  const ok = tried.filter((s) => s.state === 'ok').length
  const details = [
    `${ok} of ${plural(tried.length, 'check')} passed in ${duration(tookOf(stages))}`,
    'nothing was written, no group was joined',
  ]
  const failed = stages.find((s) => s.state === 'failed')
  if (failed)
    return { state: 'late', first: `${name} cannot be used: ${stageWord(failed.stage)} failed.`, rest: failed.next ?? '', details }
  const denied = stages.filter((s) => s.state === 'denied')
  if (denied.length) {
    const without = denied.flatMap((s) => (s.without ? [s.without] : []))
    return {
      state: 'at_risk',
      first: `${name} answers, and ${denied.length === 1 ? 'one right is' : `${denied.length} rights are`} missing.`,
      rest: without.length ? `Without ${denied.length === 1 ? 'it' : 'them'} stays unknown: ${without.join('; ')}.` : '',
      details,
    }
  }
  return { state: 'on_time', first: `${name} answers, and may be read.`, rest: '', details }
}

const stageWords: Record<string, string> = {
  dns: 'DNS',
  tcp: 'TCP',
  tls: 'TLS',
  sasl: 'SASL',
  'api versions': 'API versions',
  metadata: 'Metadata',
  brokers: 'Every broker',
}

export const stageWord = (s: string): string =>
  Object.hasOwn(stageWords, s) ? (stageWords[s] ?? s) : `${s.charAt(0).toUpperCase()}${s.slice(1)}`

/** What grants a right, as the brokers' own tool has it. */
const grants: Record<string, string> = {
  'list offsets': "--operation Describe --topic '*'",
  'read records': "--operation Read --topic '*'",
  'list groups': "--operation Describe --group '*'",
  'read commits': "--operation Describe --group '*'",
  'read topic settings': "--operation DescribeConfigs --topic '*'",
  'read sizes': '--operation Describe --cluster',
}

/** The line that somebody with the right to may run, where a right is denied; '' where there is none. */
export function grantLine(stage: Stage, d: Pick<Draft, 'brokers' | 'user'>): string {
  const grant = Object.hasOwn(grants, stage.stage) ? grants[stage.stage] : undefined
  if (stage.state !== 'denied' || !grant) return ''
  return `kafka-acls --bootstrap-server ${shellWord(brokersOf(d.brokers)[0] ?? 'HOST:9092')} --command-config admin.properties --add --allow-principal ${shellWord(`User:${d.user || 'ANONYMOUS'}`)} ${grant}`
}

export const unlockActs = {
  produce: 'write records: replays, and sources that write here',
  commit: 'move the offsets of groups',
  create: 'create topics and partitions',
  group: 'join groups, and take part in them',
  alter: 'change settings of topics and brokers',
  delete: 'delete topics, records, groups and offsets',
} as const

export type UnlockAct = keyof typeof unlockActs

/** What a cluster lets through now. */
export function lockWords(c: Pick<Cluster, 'type' | 'read_only' | 'unlocked_until' | 'unlocked_acts'>, now: number): string {
  if (c.type === 'embedded') return 'the local broker: Freshet writes what its sources capture'
  if (c.read_only) return 'read-only'
  const left = c.unlocked_until ? Date.parse(c.unlocked_until) - now : 0
  return `unlocked until ${clock(c.unlocked_until ?? '', now)}${left > 0 ? `, ${duration(Math.round(left / 1000))} left` : ''}: ${c.unlocked_acts?.length ? c.unlocked_acts.join(', ') : 'every act'}`
}
