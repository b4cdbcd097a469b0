// Ours with each of the others. The system's wireguard-go has ringfence.test.ts here, and its turn in test/slow/.

import { describe } from 'vitest';
import { IMPLEMENTATIONS } from '../support/implementations.ts';
import { matrix } from './matrix.ts';

describe.each(IMPLEMENTATIONS.filter(({ isSystems }) => !isSystems))('with $name', matrix);
