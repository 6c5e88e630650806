import { createContext } from 'svelte'
import { type Api, ApiError } from './api/client'
import type { Cluster, DemoFault, FeedItem, Item, List, MapData, MapNode, MapPath, Part, Receipt } from './api/types'
import { askAgain, forgetKept } from './detail.svelte'
import { browserEnv } from './feed/browser'
import { FeedClient, type FeedStatus, starting } from './feed/client'
import { answer, sorted, steady } from './map/answer'
import { along, pathKey, pathsOver, pathsThrough, type View, type ViewEdge, type ViewNode, view } from './map/graph'
import { MapNav } from './map/route'
import { trendWord } from './map/words'
import { Acts } from './nav/acts.svelte'
import type { Nav } from './nav/nav.svelte'
import { readRange } from './nav/range'
import { loginCode } from './nav/route'
import type { Place } from './text/copy'
import { zoneChoice } from './text/zone.svelte'

export type Theme = 'system' | 'light' | 'dark'

/** What the page's sheet is about. */
export type Selection =
  | { kind: 'path'; path: MapPath }
  | { kind: 'node'; node: MapNode }
  | { kind: 'edge'; edge: ViewEdge }
  | { kind: 'fold'; fold: ViewNode }
  | { kind: 'gone'; id: string }

/** What is open over the page. */
export type Dialog = '' | 'keys' | 'palette' | 'range' | 'save-view'

/** All that the page knows, and the acts it can ask for. One a tab. */
export class Page {
  readonly api: Api
  readonly nav: Nav
  readonly onMap: MapNav
  readonly acts = new Acts()
  readonly #feed: FeedClient
  #newVersion = false
  #lastFocus = ''

  map = $state.raw<MapData | null>(null)
  parts = $state.raw<Part[]>([])
  feed = $state.raw<FeedStatus>(starting)
  /** null where there is no demo: then nothing of it is shown. */
  faults = $state.raw<DemoFault[] | null>(null)
  clusters = $state.raw<Cluster[]>([])
  /** The time, in steps of a second; ages on the page derive from it, and never from counting steps. */
  now = $state(Date.now())
  theme = $state<Theme>('system')
  letterKeys = $state(true)
  dialog = $state<Dialog>('')
  /** Whether another build of the page is being served now. */
  outdated = $state(false)
  notice = $state('')
  said = $state('')
  #saidFor: ReturnType<typeof setTimeout> | undefined

  /** What the page is about in time. Of one that moves, the bounds go on in steps of two seconds. */
  time = $derived.by(() => readRange(this.nav.get('range'), Math.floor(this.now / 2000) * 2000))
  sortedPaths = $derived(this.map ? sorted(this.map.paths) : [])
  answer = $derived(this.map ? answer(this.map, this.now) : null)
  selection = $derived(this.#select())
  /** What of the map the selection runs over. */
  lit = $derived(this.#lit())
  view = $derived(this.#view())
  /** The path that the strip and the charts are about: the chosen one, else the one the answer speaks of, else the slowest. */
  focus = $derived(this.#focus())

  constructor(api: Api, nav: Nav) {
    this.api = api
    this.nav = nav
    this.onMap = new MapNav(nav)
    this.#feed = new FeedClient(
      browserEnv(api),
      (items) => this.#take(items),
      (s) => {
        const restarted = this.feed.instance && s.instance && s.instance !== this.feed.instance
        const back = this.feed.state === 'stopped' && s.state === 'live'
        this.feed = s
        if (back) askAgain()
        if (restarted) void this.#restarted()
      },
    )
    api.onSignedOut = () => this.#feed.signOut()
    this.theme = readTheme()
    zoneChoice.utc = stored('freshet.utc') === 'on'
    this.letterKeys = stored('freshet.keys') !== 'off'
  }

  /** Logs in where the link says so, then listens. Returns what ends it. */
  start(): () => void {
    const tick = setInterval(() => {
      if (document.visibilityState !== 'hidden') this.now = Date.now()
    }, 1000)
    void this.#open()
    return () => {
      clearInterval(tick)
      this.#feed.stop()
    }
  }

  async #open(): Promise<void> {
    const code = loginCode(location.hash)
    if (code) {
      history.replaceState(null, '', '#/')
      this.nav.open('#/')
      try {
        await this.api.login(code)
      } catch (err) {
        if (!(err instanceof ApiError && err.status === 401)) {
          this.notice = err instanceof Error ? err.message : ''
        }
      }
    }
    this.#feed.start()
    void this.#once()
  }

  async #once(): Promise<void> {
    await Promise.allSettled([this.loadFaults(), this.loadClusters()])
  }

  retry(): void {
    this.#feed.retry()
  }

  async loadClusters(): Promise<void> {
    this.clusters = (await this.api.get<List<Cluster>>('/clusters')).items
  }

  async loadFaults(): Promise<void> {
    try {
      this.faults = (await this.api.get<List<DemoFault>>('/demo/faults')).items
    } catch (err) {
      if (err instanceof ApiError && err.status === 404) this.faults = null
    }
  }

  act(path: string, body: unknown): Promise<Receipt> {
    return this.api.post<Receipt>(path, body)
  }

  /** One thing; a topic or a group says in which cluster. */
  detail<T>(path: string, signal: AbortSignal, cluster?: string): Promise<T> {
    return this.api.get<Item<T>>(path, { cluster }, signal).then((a) => a.item)
  }

  /** Where lines to copy go to: the named cluster, else the bundled broker. */
  place(name = ''): Place {
    const cluster = this.clusters.find((c) => (name ? c.name === name : c.type === 'embedded')) ?? this.clusters[0]
    return { origin: location.origin, broker: cluster?.brokers[0] ?? '' }
  }

  setTheme(t: Theme): void {
    this.theme = t
    if (t === 'system') delete document.documentElement.dataset.theme
    else document.documentElement.dataset.theme = t
    store('freshet.theme', t === 'system' ? null : t)
  }

  get utc(): boolean {
    return zoneChoice.utc
  }

  setUTC(on: boolean): void {
    zoneChoice.utc = on
    store('freshet.utc', on ? 'on' : null)
  }

  /** Copies a text, and says so: what as is, a kind of line. */
  async copy(text: string, as: string): Promise<void> {
    try {
      await navigator.clipboard.writeText(text)
      this.say(`${as} copied`)
    } catch {
      this.say('The clipboard is not allowed here')
    }
  }

  /** Says something for a few seconds, where the eye and a screen reader find it. */
  say(words: string): void {
    this.said = words
    clearTimeout(this.#saidFor)
    this.#saidFor = setTimeout(() => {
      this.said = ''
    }, 4000)
  }

  setLetterKeys(on: boolean): void {
    this.letterKeys = on
    store('freshet.keys', on ? null : 'off')
  }

  /** The id in links of whatever is chosen, for a drawn thing. */
  select(sel: string): void {
    this.onMap.go({ sel })
  }

  /** A click on a link to a drawn thing: chosen here, unless the browser is asked for a tab or window of its own. */
  follow(e: MouseEvent, sel: string): void {
    if (e.metaKey || e.ctrlKey || e.shiftKey) return
    e.preventDefault()
    this.select(sel)
  }

  /** What the answer speaks of, as a selection. */
  worst(): string {
    const a = this.answer
    if (a?.path) return pathKey(a.path)
    return a?.node?.id ?? (this.sortedPaths[0] ? pathKey(this.sortedPaths[0]) : '')
  }

  #take(items: FeedItem[]): void {
    for (const { topic, data } of items) {
      if (topic === 'map') this.map = readMap(data)
      else if (topic === 'status') {
        const had = this.parts.some((p) => p.part === 'demo')
        this.parts = readItems<Part>(data)
        // A demo that was starting runs now: it has faults.
        if (had && !this.parts.some((p) => p.part === 'demo')) void this.loadFaults()
      } else if (topic === 'faults' && this.faults) this.faults = readItems<DemoFault>(data)
    }
    this.now = Date.now()
  }

  async #restarted(): Promise<void> {
    forgetKept()
    void this.#once()
    if (this.#newVersion) return
    this.#newVersion = true
    try {
      const html = await (await fetch('/', { cache: 'no-store' })).text()
      const mine = document.querySelector<HTMLScriptElement>('script[type=module]')?.getAttribute('src') ?? ''
      this.outdated = mine.startsWith('/assets/') && !html.includes(mine)
    } catch {
      // It is still starting; the next restart asks again.
    }
    this.#newVersion = false
  }

  #select(): Selection | null {
    const { map } = this
    const { sel } = this.onMap.route
    if (!sel || !map) return null
    if (sel.startsWith('path:')) {
      const path = map.paths.find((p) => pathKey(p) === sel)
      return path ? { kind: 'path', path } : { kind: 'gone', id: sel }
    }
    if (sel.startsWith('fold:')) {
      const fold = this.view?.nodes.find((n) => n.id === sel)
      return fold ? { kind: 'fold', fold } : null
    }
    if (sel.startsWith('edge:') || sel.startsWith('bundle:')) {
      const id = sel.startsWith('edge:') ? sel.slice(5) : sel
      const edge = this.view?.edges.find((e) => e.id === id)
      return edge ? { kind: 'edge', edge } : { kind: 'gone', id }
    }
    const node = map.nodes.find((n) => n.id === sel)
    return node ? { kind: 'node', node } : { kind: 'gone', id: sel }
  }

  #view(): View | null {
    const { q, open } = this.onMap.route
    return this.map ? view(this.map, q, new Set(open), this.#kept()) : null
  }

  #focus(): MapPath | null {
    const s = this.selection
    if (s?.kind === 'path') return s.path
    const some = this.#concerned(s)
    const best = steady(some.length ? some : this.sortedPaths, this.#lastFocus)
    this.#lastFocus = best ? pathKey(best) : ''
    return best
  }

  /** The paths that run over what is chosen, worst first. */
  #concerned(s: Selection | null): MapPath[] {
    const { map } = this
    if (!map || !s) return []
    if (s.kind === 'node') return this.sortedPaths.filter((p) => pathsThrough({ ...map, paths: [p] }, s.node).length > 0)
    if (s.kind === 'edge') return sorted([...new Set(s.edge.members.flatMap((e) => pathsOver(map, e)))])
    return []
  }

  #lit(): { nodes: Set<string>; edges: Set<string> } {
    const nothing = { nodes: new Set<string>(), edges: new Set<string>() }
    const s = this.selection
    if (!s || !this.map) return nothing
    switch (s.kind) {
      case 'path':
        return along(this.map, s.path)
      case 'node':
        return { nodes: new Set([s.node.id]), edges: new Set() }
      case 'fold':
        return { nodes: new Set([s.fold.id]), edges: new Set() }
      case 'edge':
        return { nodes: new Set([s.edge.from, s.edge.to]), edges: new Set([s.edge.id]) }
      default:
        return nothing
    }
  }

  /** Nodes that stand by themselves however many there are: those of the chosen path, and a chosen node. */
  #kept(): Set<string> {
    const { map } = this
    const { sel } = this.onMap.route
    if (!map || !sel) return new Set()
    const path = sel.startsWith('path:') ? map.paths.find((p) => pathKey(p) === sel) : undefined
    return path ? along(map, path).nodes : new Set([sel])
  }
}

function readMap(data: unknown): MapData | null {
  const m = data as Partial<MapData> | null
  if (!m || typeof m !== 'object') return null
  return {
    v: m.v ?? 1,
    kind: 'map',
    as_of: m.as_of ?? '',
    profile: m.profile ?? { name: '', kind: 'local' },
    nodes: m.nodes ?? [],
    edges: m.edges ?? [],
    paths: (m.paths ?? []).map((p) => ({ ...p, trend: Object.hasOwn(trendWord, p.trend) ? p.trend : 'unknown' })),
    events: m.events ?? [],
  }
}

function readItems<T>(data: unknown): T[] {
  if (Array.isArray(data)) return data as T[]
  const items = (data as { items?: T[] } | null)?.items
  return Array.isArray(items) ? items : []
}

function stored(key: string): string | null {
  try {
    return localStorage.getItem(key)
  } catch {
    return null
  }
}

function store(key: string, value: string | null): void {
  try {
    if (value === null) localStorage.removeItem(key)
    else localStorage.setItem(key, value)
  } catch {
    // No storage: it holds until the tab closes.
  }
}

function readTheme(): Theme {
  const t = stored('freshet.theme')
  return t === 'light' || t === 'dark' ? t : 'system'
}

export const [getPage, setPage] = createContext<Page>()
