import type { Time } from '../api/types'
import { zoneChoice } from '../text/zone.svelte'

// A moment as a field of a form has it, in the zone that is chosen for the page: 2026-07-14T14:03:07.

export function toField(at: Time): string {
  const d = new Date(at)
  if (Number.isNaN(d.getTime())) return ''
  const shifted = zoneChoice.utc ? d : new Date(d.getTime() - d.getTimezoneOffset() * 60_000)
  return shifted.toISOString().slice(0, 19)
}

/** RFC 3339; '' where the field holds no time. */
export function fromField(text: string): Time {
  const d = new Date(zoneChoice.utc ? `${text}Z` : text)
  return text && !Number.isNaN(d.getTime()) ? d.toISOString() : ''
}
