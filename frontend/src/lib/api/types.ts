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
export type HistoryGrid = Schemas['Grid']
export type FreshHistory = Schemas['FreshHistory']
export type ResetAnswer = Schemas['ResetAnswer']
export type ResetChange = Schemas['ResetChange']
export type Source = Schemas['Source']
export type Sink = Schemas['Sink']
export type TopicConsumer = Schemas['TopicConsumer']
export type TopicConfig = Schemas['TopicConfig']
export type TopicRow = Schemas['TopicRow']
export type TopicRows = Schemas['TopicRows']
export type Topic = Schemas['Topic']
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
export type DecimalColumn = Schemas['Decimal']
export type Records = Schemas['Records']
export type Scan = Schemas['Scan']
export type Previous = Schemas['Previous']
export type Field = Schemas['Field']
export type Fields = Schemas['Fields']
export type FilterCheck = Schemas['FilterCheck']
export type Cluster = Schemas['Cluster']
export type ClusterSpec = Schemas['ClusterSpec']
export type Connection = Schemas['Connection']
export type ConnectionFile = Schemas['ConnectionFile']
export type Probe = Schemas['Probe']
export type About = Schemas['About']
export type Version = Schemas['Version']
export type DemoState = Schemas['DemoState']
export type TraceAnswer = Schemas['TraceAnswer']
export type TraceVersion = Schemas['TraceVersion']
export type TraceColumns = Schemas['TraceColumns']
export type TraceScan = Schemas['TraceScan']
export type HeldRow = Schemas['HeldRow']
export type DemoFault = Schemas['Fault']
export type PlanSpec = Schemas['PlanSpec']
export type Plan = Schemas['PlanAnswer']
export type Evidence = Schemas['Evidence']
export type Sample = Schemas['Sample']
export type Job = Schemas['JobAnswer']
export type JobShard = Schemas['JobShard']
export type Counts = Schemas['Counts']
export type ReplayItem = Schemas['ReplayItem']
export type AuditEntry = Schemas['AuditEntry']
export type AuditProof = Schemas['AuditProof']
export type AuditState = Schemas['AuditState']
export type AuditReport = Schemas['AuditReport']
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
