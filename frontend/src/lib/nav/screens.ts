import ChartNoAxesGantt from '@lucide/svelte/icons/chart-no-axes-gantt'
import Database from '@lucide/svelte/icons/database'
import DoorOpen from '@lucide/svelte/icons/door-open'
import Gauge from '@lucide/svelte/icons/gauge'
import History from '@lucide/svelte/icons/history'
import Inbox from '@lucide/svelte/icons/inbox'
import Network from '@lucide/svelte/icons/network'
import Rows3 from '@lucide/svelte/icons/rows-3'
import Settings2 from '@lucide/svelte/icons/settings-2'
import ShieldCheck from '@lucide/svelte/icons/shield-check'
import Waypoints from '@lucide/svelte/icons/waypoints'
import type { Component } from 'svelte'
import MapView from '../../components/views/MapView.svelte'

type View = Component<Record<string, never>>

/** A room of the page: its door in the rail, and its views by the rest of the path. A new one is one entry here. */
export interface Screen {
  /** The first segment of its path too; the Map's is none. Command go.ID goes there. */
  id: string
  title: string
  /** Where in the rail: '' is its foot; one that the rail does not have is found by the palette. */
  group: 'Watch' | 'Look' | 'Mend' | 'Prove' | '' | 'no rail'
  icon: Component<{ size?: number; strokeWidth?: number }>
  /** The view of a path below it: ['orders'] of #/topics/orders. Only what is opened is fetched. */
  view: (rest: readonly string[]) => Promise<{ default: View }>
}

// Each import stands in a function of its own: of several in one expression, the bundler fetches the styles of the last alone.
const map = Promise.resolve({ default: MapView })
const topics = () => import('../../components/views/TopicsView.svelte')
const topic = () => import('../../components/views/TopicView.svelte')
const groups = () => import('../../components/views/GroupsView.svelte')
const group = () => import('../../components/views/GroupView.svelte')
const sources = () => import('../../components/views/SourcesView.svelte')
const source = () => import('../../components/views/SourceView.svelte')
const sinks = () => import('../../components/views/SinksView.svelte')
const sink = () => import('../../components/views/SinkView.svelte')
const replayList = () => import('../../components/views/ReplayView.svelte')
const replays = new Map<string, () => Promise<{ default: View }>>([
  ['new', () => import('../../components/views/ReplayNewView.svelte')],
  ['plans', () => import('../../components/views/ReplayPlanView.svelte')],
  ['jobs', () => import('../../components/views/ReplayJobView.svelte')],
])

export const screens: readonly Screen[] = [
  { id: 'map', title: 'Map', group: 'Watch', icon: Waypoints, view: () => map },
  { id: 'freshness', title: 'Freshness', group: 'Watch', icon: Gauge, view: () => import('../../components/views/FreshnessView.svelte') },
  { id: 'topics', title: 'Topics', group: 'Look', icon: Rows3, view: (rest) => (rest.length ? topic : topics)() },
  { id: 'trace', title: 'Trace', group: 'Look', icon: ChartNoAxesGantt, view: () => import('../../components/views/TraceView.svelte') },
  { id: 'groups', title: 'Groups', group: 'Look', icon: Network, view: (rest) => (rest.length ? group : groups)() },
  { id: 'sources', title: 'Sources', group: 'Look', icon: Database, view: (rest) => (rest.length ? source : sources)() },
  { id: 'sinks', title: 'Sinks', group: 'Look', icon: Inbox, view: (rest) => (rest.length ? sink : sinks)() },
  { id: 'replay', title: 'Replay', group: 'Mend', icon: History, view: ([kind = '']) => (replays.get(kind) ?? replayList)() },
  { id: 'audit', title: 'Audit', group: 'Prove', icon: ShieldCheck, view: () => import('../../components/views/AuditView.svelte') },
  { id: 'settings', title: 'Settings', group: '', icon: Settings2, view: () => import('../../components/views/SettingsView.svelte') },
  { id: 'welcome', title: 'Welcome', group: 'no rail', icon: DoorOpen, view: () => import('../../components/views/WelcomeView.svelte') },
]

export const pathTo = (s: Pick<Screen, 'id'>): readonly string[] => (s.id === 'map' ? [] : [s.id])

/** The screen of a path; null where there is none of that name. */
export function screenAt(path: readonly string[]): Screen | null {
  const id = path[0] ?? 'map'
  return screens.find((s) => s.id === id) ?? null
}
