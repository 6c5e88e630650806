import type { Page } from 'playwright-core'

/** A place of the page that every check and every picture visits. */
export interface Room {
  name: string
  /** Its hash; what stands in {} is filled in from the running demo. */
  hash: string
}

export const rooms: readonly Room[] = [
  { name: 'map', hash: '#/' },
  { name: 'map-path', hash: '#/?sel={path}' },
  { name: 'map-table', hash: '#/?view=table' },
  { name: 'freshness', hash: '#/freshness' },
  { name: 'freshness-path', hash: '#/freshness?sel={path}' },
  { name: 'topics', hash: '#/topics' },
  { name: 'messages', hash: '#/topics/shop.public.orders/messages' },
  { name: 'messages-record', hash: '#/topics/shop.public.orders/messages?open={record}&from={record}' },
  { name: 'partitions', hash: '#/topics/shop.public.orders/partitions' },
  { name: 'consumers', hash: '#/topics/shop.public.orders/consumers' },
  { name: 'topic-config', hash: '#/topics/shop.public.orders/config' },
  { name: 'trace', hash: '#/trace' },
  { name: 'trace-row', hash: '#/trace?table=public.orders&key={key}' },
  { name: 'groups', hash: '#/groups' },
  { name: 'group', hash: '#/groups/analytics' },
  { name: 'sources', hash: '#/sources' },
  { name: 'source', hash: '#/sources/shop' },
  { name: 'sinks', hash: '#/sinks' },
  { name: 'sink', hash: '#/sinks/warehouse' },
  { name: 'replay', hash: '#/replay' },
  { name: 'replay-new', hash: '#/replay/new?source=embedded%2Fshop.public.orders' },
  { name: 'replay-plan', hash: '#/replay/plans/{plan}' },
  { name: 'replay-job', hash: '#/replay/jobs/{job}' },
  { name: 'audit', hash: '#/audit' },
  { name: 'audit-entry', hash: '#/audit?seq={seq}' },
  { name: 'settings', hash: '#/settings' },
  { name: 'settings-data', hash: '#/settings/data' },
  { name: 'settings-person', hash: '#/settings/person' },
  { name: 'settings-objectives', hash: '#/settings/objectives' },
  { name: 'settings-views', hash: '#/settings/views' },
  { name: 'settings-appearance', hash: '#/settings/appearance' },
  { name: 'settings-diagnostics', hash: '#/settings/diagnostics' },
  { name: 'settings-about', hash: '#/settings/about' },
  { name: 'settings-add', hash: '#/settings/clusters?add=yes' },
  { name: 'welcome', hash: '#/welcome' },
  { name: 'welcome-connect', hash: '#/welcome?door=connect' },
  { name: 'welcome-import', hash: '#/welcome?door=import' },
]

type Get = <T>(path: string) => Promise<T>

/** What the braces of the rooms stand for in a running demo: a path, a record, a row, a plan with its job, an entry. */
export async function filled(get: Get, plan: { plan: string; job: string }): Promise<(hash: string) => string> {
  const map = await get<{ paths: { table: string; topic: string; to: string }[] }>('/map')
  const path = map.paths.find((p) => p.topic === 'shop.public.orders' && p.to === 'sink:warehouse')
  const { items } = await get<{ items: { partition: number; offset: string; key?: { text?: string } }[] }>(
    '/topics/shop.public.orders/records?from=newest&limit=1',
  )
  const [record] = items
  const key = /:\s*"?([^"}]+)"?\s*}/.exec(record?.key?.text ?? '')?.[1] ?? ''
  const audit = await get<{ items: { seq: string }[] }>('/audit?limit=1')
  const fill: Record<string, string> = {
    path: path ? `path:${path.table}>${path.topic}>${path.to}` : '',
    record: `${record?.partition}:${record?.offset}`,
    key,
    seq: audit.items[0]?.seq ?? '',
    ...plan,
  }
  return (hash) => hash.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(fill[name] ?? ''))
}

/** Goes to a place of the page that is open, and waits until it has what it asked for. */
export async function visit(page: Page, hash: string): Promise<void> {
  await page.evaluate((h) => {
    location.hash = h
  }, hash)
  await page.locator('main h1').first().waitFor({ state: 'attached' })
  await settled(page)
}

/** Waits until nothing in the page says that it is being read, for two looks in a row. */
export async function settled(page: Page): Promise<void> {
  await page.waitForFunction(
    () => {
      const w = window as unknown as { calm?: number }
      w.calm = document.querySelector('main [aria-busy=true]') ? 0 : (w.calm ?? 0) + 1
      if (w.calm < 2) return false
      w.calm = 0
      return true
    },
    undefined,
    { polling: 200, timeout: 30_000 },
  )
}
