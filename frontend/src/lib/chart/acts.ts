import { fixedRange } from '../nav/range'
import type { Page } from '../page.svelte'

/** What can be done with a range that was selected on a chart: a link, or something that is run. */
export interface RangeAct {
  id: string
  word: string
  href?: string
  run?: () => void
}

/** What can be done with a stretch of a topic, in ms. */
export function topicActs(page: Page, cluster: string, topic: string, from: number, to: number): RangeAct[] {
  const [since, until] = [new Date(from).toISOString(), new Date(to).toISOString()]
  const range = fixedRange(from, to)
  return [
    {
      id: 'replay',
      word: 'Replay this range…',
      href: page.nav.link(['replay', 'new'], { source: `${cluster}/${topic}`, since, until }),
    },
    {
      id: 'messages',
      word: 'Messages of this range',
      href: page.nav.link(['topics', topic, 'messages'], { cluster: cluster === 'embedded' ? '' : cluster, from: since, range }),
    },
  ]
}
