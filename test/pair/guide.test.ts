// The first pages of the guide, as somebody who follows them; test/slow/guide.test.ts walks all.

import { test } from 'vitest';
import { walkFromTheFirstNode } from '../support/guide-hosts.ts';
import { SHORT_WALK } from '../support/guide-walks.ts';

test('a first node, a laptop that joins, and what a visitor may reach', () =>
  walkFromTheFirstNode(SHORT_WALK));
