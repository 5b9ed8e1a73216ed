/** The filters of snapshots. What each matches is what containerd's own package `filters` says of it. */
import { expect, test } from 'vitest';
import { parseFilters } from '../../src/container/snapshotter/filters.ts';
import { NO_USAGE, type Snapshot } from '../../src/container/snapshotter/snapshot.ts';

const snapshot: Snapshot = {
  id: 1,
  name: 'default/3/a',
  parent: undefined,
  kind: 'active',
  labels: { l: '1', 'containerd.io/gc.root': 'x y', tab: 'a\tb', empty: '' },
  createdAt: 0,
  updatedAt: 0,
  usage: NO_USAGE,
  lazy: undefined,
};
const matches = (...filters: readonly string[]): boolean => parseFilters(filters)(snapshot);

test.each([
  [[], true],
  [[''], true],
  [['kind==active'], true],
  [['kind==view'], false],
  [['kind==view', 'kind==active'], true],
  [['kind==active,labels.l==1'], true],
  [['kind==active,labels.l==2'], false],
  [['labels.l'], true],
  [['labels.none'], false],
  [['labels.none!=1'], false],
  [['labels.l!=2'], true],
  [['labels."containerd.io/gc.root"=="x y"'], true],
  [["labels.'containerd.io/gc.root'=='x y'"], true],
  [['labels.tab=="a\\tb"'], true],
  [['labels.tab=="\\x61\\u0009\\142"'], true],
  [['parent==""'], true],
  [['parent!=""'], false],
  [['name~=/^default\\/[0-9]+/'], true],
  [['name~=|^other|'], false],
  [['name==default/3/a'], true],
  [['unknown'], false],
])('the filters %j: %s', (filters, expected) => {
  expect(matches(...filters)).toBe(expected);
});

test.each([
  'kind=',
  'kind==',
  '==a',
  'kind==a b',
  'kind==a,',
  'labels."x',
  'kind=="\\q"',
  'name~=(',
  'a..b',
  ',',
])('the filter %j is refused', (filter) => {
  expect(() => matches(filter)).toThrow(/the filter .* must stand at character/);
});
