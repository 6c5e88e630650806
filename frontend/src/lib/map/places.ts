import CircleGauge from '@lucide/svelte/icons/circle-gauge'
import Database from '@lucide/svelte/icons/database'
import History from '@lucide/svelte/icons/history'
import List from '@lucide/svelte/icons/list'
import MessageSquareText from '@lucide/svelte/icons/message-square-text'
import Network from '@lucide/svelte/icons/network'
import PackageOpen from '@lucide/svelte/icons/package-open'
import type { Place } from '../../components/sheet/Places.svelte'
import type { MapNode, MapPath } from '../api/types'
import { clusterOf } from '../history'
import type { Nav } from '../nav/nav.svelte'
import { pathKey } from './graph'

// Where a person goes on from a sheet of the Map.

/** A cluster as a link has it: the bundled one is left out. */
const query = (cluster: string) => ({ cluster: cluster === 'embedded' ? '' : cluster })

export function nodePlaces(nav: Nav, n: MapNode): Place[] {
  const cluster = clusterOf(n)
  switch (n.lane) {
    case 'source':
      return [{ word: 'Open source', href: nav.link(['sources', n.ref]), icon: Database }]
    case 'topic':
      return [
        { word: 'Open topic', href: nav.link(['topics', n.ref], query(cluster)), icon: List },
        { word: 'Read its messages', href: nav.link(['topics', n.ref, 'messages'], query(cluster)), icon: MessageSquareText },
        { word: 'Replay a range…', href: nav.link(['replay', 'new'], { source: `${cluster}/${n.ref}` }), icon: History },
      ]
    case 'group':
      return [{ word: 'Open group', href: nav.link(['groups', n.ref], query(cluster)), icon: Network }]
    default:
      return [{ word: 'Open sink', href: nav.link(['sinks', n.ref]), icon: PackageOpen }]
  }
}

export function pathPlaces(nav: Nav, p: MapPath, nodes: readonly MapNode[]): Place[] {
  const end = nodes.find((n) => n.id === p.to)
  const into = end?.lane === 'sink' ? { to: end.ref } : {}
  return [
    ...(end ? nodePlaces(nav, end).filter((x) => end.lane !== 'topic' || x.word === 'Open topic') : []),
    ...(end?.lane === 'topic' ? [] : [{ word: 'Open topic', href: nav.link(['topics', p.topic], query(p.cluster)), icon: List }]),
    { word: 'Freshness of this path', href: nav.link(['freshness'], { sel: pathKey(p) }), icon: CircleGauge },
    { word: 'Replay a range…', href: nav.link(['replay', 'new'], { source: `${p.cluster}/${p.topic}`, ...into }), icon: History },
  ]
}

/** The record that a group or a sink takes next: the first that it has not. */
export function unreadPlace(nav: Nav, cluster: string, topic: string, partition: number, next: string, note: string): Place {
  const at = `${partition}:${next}`
  return {
    word: 'Read unread messages',
    href: nav.link(['topics', topic, 'messages'], { ...query(cluster), from: at, open: at }),
    icon: MessageSquareText,
    note,
  }
}
