import { type Change, changed, format, parse, type Query, type Route } from './route'

/** The page's place, kept in the hash. A choice makes a step that Back undoes; typing does not. */
export class Nav {
  route = $state.raw<Route>(parse(location.hash))

  constructor() {
    const read = () => {
      this.route = parse(location.hash)
    }
    addEventListener('hashchange', read)
    addEventListener('popstate', read)
  }

  /** The first value of a parameter, '' where there is none. */
  get(name: string): string {
    return this.route.query[name]?.[0] ?? ''
  }

  all(name: string): readonly string[] {
    return this.route.query[name] ?? []
  }

  /** Goes to another place; the time range goes along. */
  to(path: readonly string[], change: Change = {}): void {
    this.#move({ path, query: changed(this.#kept(), change) }, 'pushState')
  }

  /** The link to another place. */
  link(path: readonly string[], change: Change = {}): string {
    return format({ path, query: changed(this.#kept(), change) })
  }

  /** Opens a link of this page: a hash. */
  open(hash: string): void {
    this.#move(parse(hash), 'pushState')
  }

  /** Changes what the place shows. */
  set(change: Change): void {
    this.#move({ ...this.route, query: changed(this.route.query, change) }, 'pushState')
  }

  /** The same for what is typed or follows by itself: no step that Back would undo. */
  replace(change: Change): void {
    this.#move({ ...this.route, query: changed(this.route.query, change) }, 'replaceState')
  }

  /** The link to this place with a change made. */
  href(change: Change = {}): string {
    return format({ ...this.route, query: changed(this.route.query, change) })
  }

  #kept(): Query {
    const range = this.route.query.range
    return range ? { range } : {}
  }

  #move(next: Route, how: 'pushState' | 'replaceState'): void {
    const hash = format(next)
    if (hash !== format(this.route)) history[how](null, '', hash)
    this.route = parse(hash)
  }
}
