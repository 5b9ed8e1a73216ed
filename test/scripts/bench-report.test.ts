/** The benchmark harness: sections of the document and their pictures. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { GROUPS } from '../../scripts/bench/arguments.mjs';
import { barPlot } from '../../scripts/bench/plot.mjs';
import { replaceSection, writeReport } from '../../scripts/bench/report.mjs';

const DOCUMENT = path.resolve(import.meta.dirname, '..', '..', 'docs', 'BENCHMARKS.md');

const plot = {
  title: 'Files & <folders>',
  rows: [
    {
      label: 'find (ms)',
      bars: [
        { series: 'ext4', value: 100, text: '100' },
        { series: 'peel, native', value: 50, text: '50.0 (0.50x)' },
      ],
    },
    { label: 'nothing', bars: [{ series: 'ext4', value: 0, text: '0' }] },
  ],
};

/** Widths of the bars, in the order they are drawn; the legend's squares have round corners. */
const barWidths = (svg: string): number[] =>
  [...svg.matchAll(/<rect (?![^>]* rx=)[^>]*width="([\d.]+)"/g)].map(([, width]) => Number(width));

describe('barPlot', () => {
  test('bars begin at zero: half the value is half as long', () => {
    const [whole = 0, half = 0] = barWidths(barPlot(plot));
    expect(whole).toBeGreaterThan(100);
    expect(half).toBe(whole / 2);
  });

  test('a value of zero is drawn as a line, and nothing is infinite or not a number', () => {
    const svg = barPlot(plot);
    expect(barWidths(svg)).toHaveLength(3);
    expect(barWidths(svg)[2]).toBe(1);
    expect(svg).not.toMatch(/NaN|Infinity|undefined/);
  });

  test('labels are text, whatever is in them', () => {
    const svg = barPlot(plot);
    expect(svg).toContain('Files &amp; &lt;folders&gt;');
    expect(svg).not.toContain('<folders>');
  });

  test('the picture is well-formed XML', () => {
    // Python has a real parser; Node has none.
    const { status, stderr } = spawnSync(
      'python3',
      ['-c', 'import sys, xml.dom.minidom as m; m.parseString(sys.stdin.buffer.read())'],
      { input: barPlot(plot), encoding: 'utf8', timeout: 20_000 },
    );
    expect(stderr).toBe('');
    expect(status).toBe(0);
  });
});

describe('the document', () => {
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(path.join(os.tmpdir(), 'peel-report-'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  test('has a place for every group', () => {
    const text = readFileSync(DOCUMENT, 'utf8');
    for (const group of GROUPS) expect(replaceSection(text, group, 'NEW')).toContain('\n\nNEW\n\n');
  });

  test('a group replaces its own section and nothing else', () => {
    const text = readFileSync(DOCUMENT, 'utf8');
    const both = replaceSection(replaceSection(text, 'bytes', 'BYTES'), 'memory', 'MEMORY');
    expect(replaceSection(both, 'bytes', 'AGAIN')).toBe(both.replace('BYTES', 'AGAIN'));
  });

  test('a group without a place is an error', () => {
    expect(() => replaceSection('# Benchmarks\n', 'bytes', 'x')).toThrow('bytes');
  });

  test('what is written has the table, its picture, the bars and the machine', () => {
    const docs = path.join(folder, 'docs');
    mkdirSync(docs);
    writeFileSync(path.join(docs, 'BENCHMARKS.md'), readFileSync(DOCUMENT));
    const section = {
      title: 'Bytes',
      intro: ['What it is.'],
      tables: [{ name: 'bytes', title: '', markdown: '| a |', plot }],
      bars: [{ what: 'x', side: 'at most' as const, limit: 1, got: 2, unit: 'x' }],
    };
    writeReport(docs, new Map([['bytes', { section, machine: 'A MACHINE' }]]));
    const text = readFileSync(path.join(docs, 'BENCHMARKS.md'), 'utf8');
    expect(text).toContain(
      '## Bytes\n\nWhat it is.\n\n| a |\n\n![Files & <folders>](benchmarks/bytes.svg)\n\n- x: bar at most 1x, got 2.00x: **missed**\n\nA MACHINE\n',
    );
    expect(readFileSync(path.join(docs, 'benchmarks', 'bytes.svg'), 'utf8')).toBe(barPlot(plot));
  });
});
