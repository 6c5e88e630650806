import Database from '@lucide/svelte/icons/database'
import Inbox from '@lucide/svelte/icons/inbox'
import Rows3 from '@lucide/svelte/icons/rows-3'
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

export const screens: readonly Screen[] = [
  { id: 'map', title: 'Map', group: 'Watch', icon: Waypoints, view: () => map },
  {
    id: 'topics',
    title: 'Topics',
    group: 'Look',
    icon: Rows3,
    view: (rest) => (rest.length ? import('../../components/views/TopicView.svelte') : import('../../components/views/TopicsView.svelte')),
  },
  {
    id: 'sources',
    title: 'Sources',
    group: 'Look',
    icon: Database,
    view: (rest) =>
      rest.length ? import('../../components/views/SourceView.svelte') : import('../../components/views/SourcesView.svelte'),
  },
  {
    id: 'sinks',
    title: 'Sinks',
    group: 'Look',
    icon: Inbox,
    view: (rest) => (rest.length ? import('../../components/views/SinkView.svelte') : import('../../components/views/SinksView.svelte')),
  },
]

export const pathTo = (s: Pick<Screen, 'id'>): readonly string[] => (s.id === 'map' ? [] : [s.id])

/** The screen of a path; null where there is none of that name. */
export function screenAt(path: readonly string[]): Screen | null {
  const id = path[0] ?? 'map'
  return screens.find((s) => s.id === id) ?? null
}
