import { middle } from './visible'

/** Measures text as it will be drawn. */
export type Measure = (text: string) => number

let context: CanvasRenderingContext2D | null | undefined

/** Measures in a font; where there is no canvas, by the width of an average letter. */
function measure(font: string, average: number): Measure {
  context ??= typeof document === 'undefined' ? null : (document.createElement('canvas').getContext?.('2d') ?? null)
  return (text) => {
    if (!context) return text.length * average
    context.font = font
    return context.measureText(text).width
  }
}

/** Measures names, as they are drawn in lists and on the map. */
export const measureName = (strong: boolean): Measure => measure(`${strong ? 500 : 400} 13px "Inter Variable", system-ui, sans-serif`, 6.7)

/**
 * The text, with as much of its middle left out as it takes to fit into so many pixels. Of a name in parts that dots
 * divide, the first parts are left out before that: they are what its neighbours have as well.
 */
export function shorten(text: string, px: number, width: Measure): string {
  if (width(text) <= px) return text
  const parts = text.split('.')
  for (let i = 1; i < parts.length; i++) {
    const rest = `…${parts.slice(i).join('.')}`
    if (rest.length > 1 && width(rest) <= px) return rest
  }
  let least = 3
  let most = text.length
  while (least < most) {
    const n = Math.ceil((least + most) / 2)
    if (width(middle(text, n)) <= px) least = n
    else most = n - 1
  }
  return middle(text, least)
}
