import { expect, test } from 'vitest'
import { apart } from './place'

test('labels keep their distance, and stay inside', () => {
  expect(apart([10, 50], 14, 100)).toEqual([10, 50])
  expect(apart([50, 48, 49], 14, 100)).toEqual([76, 48, 62])
  expect(apart([98, 97], 14, 100)).toEqual([100, 86])
})
