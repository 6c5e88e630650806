/** The moment that every chart of the page marks. */
class Crosshair {
  /** In ms; null where none is marked. */
  at = $state<number | null>(null)
}

export const crosshair = new Crosshair()
