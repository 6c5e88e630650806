import { describe, expect, test } from 'vitest'
import { mostHeight, rowsAt, scrolledHeight, scrollTopOf, topOf } from './window'

describe('the rows that are drawn', () => {
  test('a short list is drawn as it is', () => {
    expect(rowsAt(0, 5, 28, 700)).toEqual({ from: 0, to: 5, offset: 0 })
    expect(rowsAt(0, 0, 28, 700)).toEqual({ from: 0, to: 0, offset: 0 })
  })
  test('in the middle, some more on both sides', () => {
    expect(rowsAt(2800 + 10, 1000, 28, 280)).toEqual({ from: 94, to: 117, offset: 94 * 28 - 2810 })
  })
  test('a million rows keep both ends in reach, and their number bounded', () => {
    const [n, row, view] = [1_000_000, 28, 700]
    expect(scrolledHeight(n, row)).toBe(mostHeight)
    const end = rowsAt(topOf(mostHeight - view, n, row, view), n, row, view)
    expect(end.to).toBe(n)
    expect(end.to - end.from).toBeLessThan(40)
    for (const top of [0, 1, 28, 13_999_999.5, n * row - view])
      expect(topOf(scrollTopOf(top, n, row, view), n, row, view)).toBeCloseTo(top, 3)
  })
})
