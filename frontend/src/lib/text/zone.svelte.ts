/** Whether times are written in UTC; the other way is shown on hover. One switch for the whole page. */
export const zoneChoice = $state({ utc: false })
