import { expect, test } from 'vitest'
import type { MapNode, MapPath } from '../api/types'
import { copyNode, copyPath } from './copy'

const at = { origin: 'http://127.0.0.1:8123', broker: '127.0.0.1:9123' }
const node = (lane: MapNode['lane'], ref: string): MapNode => ({
  id: `${lane}:${ref}`,
  lane,
  name: ref,
  ref,
  state: 'on_time',
  trend: 'steady',
})

test('lines for a terminal', () => {
  expect(copyNode(node('topic', 'shop.public.orders'), at)).toEqual([
    { as: 'Freshet', text: 'freshet topics read shop.public.orders --from newest --limit 20' },
    {
      as: 'curl',
      text: `curl -sH "Authorization: Bearer $FRESHET_TOKEN" 'http://127.0.0.1:8123/api/topics/shop.public.orders/records?from=newest&limit=20'`,
    },
    { as: 'kcat', text: "kcat -b 127.0.0.1:9123 -C -t shop.public.orders -o -20 -e -f '%p:%o %T %k %s\\n'" },
  ])
  expect(copyNode(node('sink', 'warehouse'), at)[0]?.text).toBe('freshet sinks status warehouse')
})

test('a hostile name stays one word', () => {
  expect(copyNode(node('group', "x'; rm -rf ~ #"), at)[0]?.text).toBe(`freshet groups describe 'x'\\''; rm -rf ~ #'`)
  expect(copyPath({ path: 'a → $(id)', topic: 't' } as MapPath, at)[0]?.text).toBe("freshet freshness 'a → $(id)'")
})

test('without a broker there is no kcat line', () => {
  expect(copyNode(node('topic', 't'), { ...at, broker: '' }).map((l) => l.as)).toEqual(['Freshet', 'curl'])
})
