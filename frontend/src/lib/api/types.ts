import type { components } from './schema'

// The API in the page's words. The shapes are generated from the server's own types (npm run generate), so that what
// drifts does not compile.

type Schemas = components['schemas']

/** RFC 3339 in UTC with milliseconds. */
export type Time = string

/** A measured amount. An unknown one has no value and says why; an open bound is null. */
export type Reading = Schemas['Reading']

export type MapNode = Schemas['Node']
export type MapEdge = Schemas['Edge']
export type MapEvent = Schemas['MapEvent']
export type Hop = Schemas['Hop']
export type State = MapNode['state']
export type Trend = MapNode['trend']
export type Lane = MapNode['lane']
export type MapPath = Omit<Schemas['Path'], 'trend'> & { trend: Trend }
export type MapData = Omit<Schemas['Map'], 'paths'> & { paths: MapPath[] }

export type FeedItem = Schemas['FeedItem']
export type FeedAnswer = Schemas['FeedAnswer']
export type Part = Schemas['Part']
export type Point = Schemas['Point']
export type History = Schemas['History']
export type Group = Schemas['Group']
export type GroupPartition = Schemas['GroupPartition']
export type Source = Schemas['Source']
export type Sink = Schemas['Sink']
export interface TopicConsumer {
  group: string
  group_state: string
  members: number
  partitions: number
  state: string
  why?: string
  lag: Schemas['Lag']
  lost?: string
}
export interface TopicConfig {
  name: string
  value?: string
  source?: string
}
export interface RowReader {
  group: string
  state: string
  seconds: number | null
  low: number | null
  high: number | null
  why?: string
}
export interface TopicRow {
  topic: string
  internal?: boolean
  partitions: number
  records?: string
  rate?: number
  bytes?: string
  owner?: string
  cleanup?: string
  retention_ms?: string
  written_by?: string
  readers?: number
  worst?: RowReader
  last_write?: string
  why?: string
}
export interface TopicRows {
  cluster: string
  as_of: string
  readers_as_of?: string
  items: TopicRow[]
}
export type Topic = Schemas['Topic'] & {
  owner?: string
  cleanup?: string
  retention_ms?: string
  written_by?: string
  configs?: TopicConfig[]
  consumers?: TopicConsumer[]
}
export type TopicPartition = Schemas['TopicPartition']
export type Spark = Schemas['Spark']
export type SourcePlan = Schemas['SourcePlan']
export type SourceSpec = Schemas['SourceSpec']
export type SourceTable = Schemas['SourceTable']
export type SinkSpec = Schemas['SinkSpec']
export type SinkPartition = Schemas['SinkPartition']
export type ParkedRecord = Schemas['ParkedRecord']
export type Finding = Schemas['Finding']
export type Stage = Schemas['Stage']
export type Payload = Schemas['Payload']
export type LogRecord = Schemas['Record']
export type Records = Schemas['Records']
export type Cluster = Schemas['Cluster']
export type DemoFault = Schemas['Fault']
export type Receipt = Schemas['Receipt']
export type ApiErrorBody = Schemas['Error']

/** A place of the page under a name. */
export interface SavedView {
  name: string
  hash: string
}

export interface List<T> {
  items: T[]
}

export interface Item<T> {
  item: T
}
