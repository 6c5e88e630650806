/** Plans that were made in this tab just now, and whose dry run begins when they are shown: a link has no such effect. */
export const begun = new Set<string>()
