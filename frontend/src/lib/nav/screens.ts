import History from '@lucide/svelte/icons/history'
import List from '@lucide/svelte/icons/list'
import ShieldCheck from '@lucide/svelte/icons/shield-check'
import Spline from '@lucide/svelte/icons/spline'
import Waypoints from '@lucide/svelte/icons/waypoints'
import type { Component } from 'svelte'
import MapView from '../../components/views/MapView.svelte'

type View = Component<Record<string, never>>

/** A room of the page: its door in the rail, and its views by the rest of the path. A new one is one entry here. */
export interface Screen {
  /** The first segment of its path too; the Map's is none. Command go.ID goes there. */
  id: string
  title: string
  group: 'Watch' | 'Look' | 'Mend' | 'Prove' | ''
  icon: Component<{ size?: number; strokeWidth?: number }>
  /** The view of a path below it: ['orders'] of #/topics/orders. Only what is opened is fetched. */
  view: (rest: readonly string[]) => Promise<{ default: View }>
}

const map = Promise.resolve({ default: MapView })

// Each import stands in a function of its own: of several in one expression, the bundler fetches the styles of the last alone.
const replayList = () => import('../../components/views/ReplayView.svelte')
const replays = new Map<string, () => Promise<{ default: View }>>([
  ['new', () => import('../../components/views/ReplayNewView.svelte')],
  ['plans', () => import('../../components/views/ReplayPlanView.svelte')],
  ['jobs', () => import('../../components/views/ReplayJobView.svelte')],
])

export const screens: readonly Screen[] = [
  { id: 'map', title: 'Map', group: 'Watch', icon: Waypoints, view: () => map },
  { id: 'topics', title: 'Topics', group: 'Look', icon: List, view: () => import('../../components/views/TopicView.svelte') },
  { id: 'trace', title: 'Trace', group: 'Look', icon: Spline, view: () => import('../../components/views/TraceView.svelte') },
  { id: 'replay', title: 'Replay', group: 'Mend', icon: History, view: ([kind = '']) => (replays.get(kind) ?? replayList)() },
  { id: 'audit', title: 'Audit', group: 'Prove', icon: ShieldCheck, view: () => import('../../components/views/AuditView.svelte') },
]

export const pathTo = (s: Pick<Screen, 'id'>): readonly string[] => (s.id === 'map' ? [] : [s.id])

/** The screen of a path; null where there is none of that name. */
export function screenAt(path: readonly string[]): Screen | null {
  const id = path[0] ?? 'map'
  return screens.find((s) => s.id === id) ?? null
}
