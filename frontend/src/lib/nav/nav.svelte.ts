import { format, parse, type Route } from './route'

/** The page's place, kept in the hash. A choice makes a step that Back undoes; typing does not. */
export class Nav {
  route = $state.raw<Route>(parse(location.hash))

  constructor() {
    addEventListener('hashchange', () => {
      this.route = parse(location.hash)
    })
    addEventListener('popstate', () => {
      this.route = parse(location.hash)
    })
  }

  go(change: Partial<Route>): void {
    this.#move(change, 'pushState')
  }

  replace(change: Partial<Route>): void {
    this.#move(change, 'replaceState')
  }

  href(change: Partial<Route>): string {
    return format({ ...this.route, ...change })
  }

  #move(change: Partial<Route>, how: 'pushState' | 'replaceState'): void {
    const next = { ...this.route, ...change }
    const hash = format(next)
    if (hash !== format(this.route)) history[how](null, '', hash)
    this.route = next
  }
}
