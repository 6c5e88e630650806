import { expect, test } from 'vitest'
import { Still } from './still'

test('rows stand still while they are held, and what is new comes last', () => {
  const still = new Still<string>((row) => row)
  expect(still.rows(['b', 'a', 'c'], false)).toEqual(['b', 'a', 'c'])
  expect(still.rows(['c', 'd', 'b', 'a'], true)).toEqual(['b', 'a', 'c', 'd'])
  expect(still.rows(['d', 'c', 'a'], true)).toEqual(['a', 'c', 'd'])
  expect(still.rows(['d', 'c', 'a'], false)).toEqual(['d', 'c', 'a'])
  expect(still.rows(['a', 'c', 'd'], true, 'by name')).toEqual(['a', 'c', 'd'])
})
