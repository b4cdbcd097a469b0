// What of the matrix would keep `npm test` waiting: NATs, and the older wireguard-go.

import { describe } from 'vitest';
import { behindNat, matrix } from '../interop/matrix.ts';
import { IMPLEMENTATIONS } from '../support/implementations.ts';

describe.each(IMPLEMENTATIONS)('with $name', behindNat);
describe.each(IMPLEMENTATIONS.filter(({ isSystems }) => isSystems))('with $name', matrix);
