// The API as this page reads it. Numbers of 64 bits come as strings and stay so.

/** RFC 3339 in UTC with milliseconds. */
export type Time = string

export type State = 'on_time' | 'at_risk' | 'late' | 'idle' | 'paused' | 'unknown' | 'dead'
export type Trend = 'rising' | 'falling' | 'steady' | 'unknown'
export type Lane = 'source' | 'topic' | 'group' | 'sink'

/** A measured amount. An unknown one has no value and says why; an open bound is null. */
export interface Reading {
  value: number | null
  low: number | null
  high: number | null
  unit: string
  state: 'exact' | 'estimate' | 'bounded' | 'unknown'
  why?: string
  as_of: Time
}

export interface MapNode {
  id: string
  lane: Lane
  name: string
  /** The name that the other routes know it by. */
  ref: string
  state: State
  why?: string
  delay?: Reading | null
  rate?: Reading | null
  note?: string
  trend: Trend
}

export interface MapEdge {
  id: string
  from: string
  to: string
  state: State
  delay?: Reading | null
  rate?: Reading | null
  lag?: Reading | null
}

export interface Hop {
  from: string
  to: string
  seconds: Reading
}

export interface MapPath {
  path: string
  source: string
  table: string
  topic: string
  /** The id of the node it ends in: group:NAME or sink:NAME. */
  to: string
  state: State
  why?: string
  objective_s?: number | null
  hops: Hop[]
  total: Reading
  since?: Time | null
  worst?: Reading | null
  trend: Trend
  eta?: Reading | null
}

export interface MapEvent {
  at: Time
  kind: 'fault' | 'job' | 'config' | 'audit' | 'state'
  text: string
  ref?: string
  seq?: string
}

export type ProfileKind = 'local' | 'staging' | 'production'

export interface MapData {
  v: number
  kind: string
  as_of: Time
  profile: { name: string; kind: ProfileKind }
  nodes: MapNode[]
  edges: MapEdge[]
  paths: MapPath[]
  events: MapEvent[]
}

export interface FeedItem {
  topic: string
  data: unknown
}

export interface FeedAnswer {
  cursor: string
  /** Something was dropped before this: the items are the newest of each topic. */
  gap: boolean
  dropped: number
  instance: string
  items: FeedItem[]
}

export interface List<T> {
  items: T[]
  next_cursor?: string
}

export interface Item<T> {
  item: T
}

export interface Part {
  part: string
  state: string
  detail: string
  needs?: string
}

export interface Point {
  at: Time
  reading: Reading
}

export interface History {
  points: Point[]
}

export interface Lag {
  records: Reading
  seconds: Reading
}

export interface GroupPartition {
  topic: string
  partition: number
  committed?: string
  start?: string
  end?: string
  lost?: string
  lag: Lag
  member?: string
  state?: string
}

export interface GroupMember {
  id: string
  client_id: string
  host: string
  assigned: number
}

export interface Group {
  group: string
  cluster: string
  protocol: string
  state: string
  members: number
  topics: string[]
  verdict: string
  lag: Lag
  trend?: string
  caught_up_in?: Reading | null
  partitions?: GroupPartition[]
  member_list?: GroupMember[]
}

export interface SourceTable {
  table: string
  topic: string
  key?: string
  replica_identity?: string
  limit?: string
}

export interface Finding {
  level: 'info' | 'warning' | 'refusal'
  code: string
  text: string
  mend?: string
}

export interface Slot {
  name: string
  active: boolean
  wal_status?: string
  retained: Reading
  safe: Reading
  held_by?: string
  why?: string
}

export interface Source {
  name: string
  type: string
  cluster: string
  state: string
  why?: string
  tables: SourceTable[]
  slot?: Slot | null
  position: { server?: string; received?: string; appended?: string; confirmed?: string }
  last_commit?: Time
  findings?: Finding[]
}

export interface SinkPartition {
  topic: string
  partition: number
  next: string
  state: string
  why?: string
  at?: Time
}

export interface Sink {
  name: string
  type: string
  mode?: string
  cluster?: string
  topics?: string[]
  state: string
  why?: string
  /** Records that it refused for good. */
  parked: string
  partitions?: SinkPartition[]
}

export interface TopicPartition {
  partition: number
  leader: number
  start?: string
  end?: string
  error?: string
}

export interface Topic {
  topic: string
  id?: string
  partition_count: number
  records: Reading
  rate: Reading
  bytes: Reading
  config?: Record<string, string>
  partitions?: TopicPartition[]
  error?: string
}

export interface Payload {
  text?: string
  base64: string
  size: number
  cut?: boolean
}

export interface LogRecord {
  partition: number
  offset: string
  time: Time
  time_type: string
  key?: Payload | null
  value?: Payload | null
}

export interface Records {
  items: LogRecord[]
  scan: { scanned: string; matched: string; stopped_because: string }
}

export interface Cluster {
  name: string
  type: 'embedded' | 'kafka'
  brokers: string[]
}

export interface DemoFault {
  name: string
  does: string
  expect: string
  active: boolean
  until?: Time
}

export interface AuditEntry {
  seq: string
  at: Time
  actor: string
  action: string
  phase: string
  subject: string
  outcome?: string
}

/** What came of an act, and the audit entry that tells of it. */
export interface Receipt {
  name?: string
  state?: string
  audit: { seq?: string; size?: string; root?: string }
}

export interface ApiErrorBody {
  kind: 'error'
  exit: number
  code: string
  message: string
  hint?: string
}
