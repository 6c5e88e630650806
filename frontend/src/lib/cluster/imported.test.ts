import { describe, expect, test } from 'vitest'
import type { Connection } from '../api/types'
import { draftTrouble, specOf } from './cluster'
import { importedOf, placesOf, wayWords } from './imported'

const found: Connection = {
  tool: 'kcat',
  has_password: true,
  lacks: ['the authority: ca.pem'],
  spec: {
    name: 'prod',
    brokers: ['a:1', 'b:2'],
    tls: true,
    sasl: 'plain',
    user: 'me',
    password_from: 'import:/home/me/.config/kcat.conf#prod',
  },
}

describe('an imported connection', () => {
  test('is sent back as it came: the password stays where it is', () => {
    const { draft } = importedOf(found, '/home/me/.config/kcat.conf')
    expect(draftTrouble(draft)).toBe('')
    expect(specOf(draft)).toEqual(found.spec)
  })
  test('a password that is typed is used instead', () => {
    const spec = specOf({ ...importedOf(found, 'f').draft, password: 'typed' })
    expect(spec.password).toBe('typed')
    expect(spec.password_from).toBeUndefined()
  })
  test('a mechanism that Freshet does not have is no sign-in', () => {
    const odd = { ...found, spec: { ...found.spec, sasl: 'constructor' } }
    expect(importedOf(odd, '').draft.sasl).toBe('')
    expect(wayWords(odd)).toBe('TLS, no sign-in')
  })
  test('says how it signs in', () => expect(wayWords(found)).toBe('TLS, PLAIN as me, with its password'))
})

test('places are told by tool', () => {
  const at = (tool: string, file: string) => ({ tool, file, found: false, connections: [] })
  expect(placesOf([at('rpk', 'a'), at('kcat', 'b'), at('rpk', 'c')])).toEqual([
    ['rpk', ['a', 'c']],
    ['kcat', ['b']],
  ])
})
