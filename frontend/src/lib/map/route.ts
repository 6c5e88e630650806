import type { Nav } from '../nav/nav.svelte'
import { pick, type Query } from '../nav/route'

export type EdgeMode = 'freshness' | 'rate' | 'lag'
export type Shape = 'map' | 'table'

export const edgeModes: Record<EdgeMode, string> = { freshness: 'Freshness', rate: 'Rate', lag: 'Lag in records' }

/** What the Map shows, as the query of its place has it. */
export interface MapRoute {
  /** A node's id, edge:ID, bundle:…, fold:… or path:TABLE>TOPIC>END; '' for nothing. */
  sel: string
  edges: EdgeMode
  q: string
  view: Shape
  /** Folds that are opened. */
  open: readonly string[]
}

export const wholeMap: MapRoute = { sel: '', edges: 'freshness', q: '', view: 'map', open: [] }

export function readMapRoute(query: Query): MapRoute {
  return {
    sel: query.sel?.[0] ?? '',
    edges: pick(query.edges?.[0], edgeModes, wholeMap.edges),
    q: query.q?.[0] ?? '',
    view: pick<Shape>(query.view?.[0], { map: 1, table: 1 }, wholeMap.view),
    open: query.open ?? [],
  }
}

/** A change as the query takes it: what is as usual is left out, so that links stay short. */
function usualOut(change: Partial<MapRoute>): Record<string, string | readonly string[]> {
  const out: Record<string, string | readonly string[]> = {}
  for (const [k, v] of Object.entries(change)) out[k] = v === wholeMap[k as keyof MapRoute] ? '' : v
  return out
}

/** The Map's place, in its own words. */
export class MapNav {
  readonly #nav: Nav

  constructor(nav: Nav) {
    this.#nav = nav
  }

  get route(): MapRoute {
    return readMapRoute(this.#nav.route.query)
  }

  go(change: Partial<MapRoute>): void {
    this.#nav.set(usualOut(change))
  }

  replace(change: Partial<MapRoute>): void {
    this.#nav.replace(usualOut(change))
  }

  href(change: Partial<MapRoute>): string {
    return this.#nav.href(usualOut(change))
  }
}
