// Which pages of the guide are walked together, in turn and on the same hosts, and by which test.

export const WALKS: Readonly<Record<'pair' | 'slow', readonly string[]>> = { pair: [], slow: [] };
