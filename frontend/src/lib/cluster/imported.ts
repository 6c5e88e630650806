import type { Connection, ConnectionFile } from '../api/types'
import { type Draft, emptyDraft, type Mechanism, mechanisms } from './cluster'

/** A connection of another tool, on its way into the form. Nothing of it is saved, or in an address. */
export interface Imported {
  tool: string
  /** Its file; '' where the text was pasted. */
  file: string
  lacks: readonly string[]
  draft: Draft
}

/** As much as is read of a file that a person chooses: the server takes no more. */
export const mostText = 1 << 20

const known = (sasl: string | undefined): sasl is Mechanism => sasl !== undefined && Object.hasOwn(mechanisms, sasl)

export function importedOf({ tool, spec, lacks }: Connection, file: string): Imported {
  const draft: Draft = {
    ...emptyDraft(),
    name: spec.name,
    brokers: spec.brokers.join(', '),
    tls: spec.tls ?? false,
    ca: spec.tls_ca ?? '',
    cert: spec.tls_cert ?? '',
    key: spec.tls_key ?? '',
  }
  if (known(spec.sasl))
    Object.assign(draft, { sasl: spec.sasl, user: spec.user ?? '', password: spec.password ?? '', kept: spec.password_from ?? '' })
  return { tool, file, lacks, draft }
}

/** How a connection speaks and signs in, in a few words. */
export function wayWords({ spec, has_password }: Connection): string {
  const sign = known(spec.sasl)
    ? `${mechanisms[spec.sasl]} as ${spec.user || 'nobody yet'}${has_password ? ', with its password' : ''}`
    : 'no sign-in'
  return `${spec.tls ? 'TLS' : 'no TLS'}, ${sign}`
}

/** Places by tool, in the order in which they were looked at. */
export function placesOf(files: readonly ConnectionFile[]): [tool: string, files: string[]][] {
  const by = new Map<string, string[]>()
  for (const f of files) by.set(f.tool, [...(by.get(f.tool) ?? []), f.file])
  return [...by]
}
