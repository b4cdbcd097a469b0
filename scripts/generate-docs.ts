// `npm run docs`: writes docs/config.md from the schema, docs/errors.md from the table of codes, docs/metrics.md from the metrics,
// docs/json.md from the schemas of docs/, and the figures of README.md from the result it names. What a reader is told about a key
// or a code stands beside it in src/; here is only the order. test/unit/docs.test.ts fails when the files are not what this makes of them.

import { readFileSync, writeFileSync } from 'node:fs';
import { z } from 'zod';
import {
  type Place,
  pairedRatios,
  placesOf,
  type Result,
  resultSchema,
  type Spread,
  scoresOf,
  spreadOf,
} from '../src/bench/result.ts';
import type { KeyFacts } from '../src/config/facts.ts';
import { firewallSchema } from '../src/config/firewall/schema.ts';
import {
  interfaceSchema,
  loggingSchema,
  metricsSchema,
  peerNameSchema,
  peerSchema,
} from '../src/config/schema.ts';
import { factsOf, withoutDefault } from '../src/config/section.ts';
import { METRICS } from '../src/control/metrics.ts';
import { ERROR_CODES, type ErrorCode, exitCodeOfCode } from '../src/errors.ts';
import { renderJsonSections } from './json-page.ts';

type Section = z.ZodObject<z.core.$ZodShape>;

const MARK = '<!-- Made by `npm run docs`: do not edit. -->';

/** Every generated file, by its path in the repository. */
export function renderDocs(): ReadonlyMap<string, string> {
  return new Map([
    ['docs/config.md', renderConfig()],
    ['docs/errors.md', renderErrors()],
    ['docs/metrics.md', renderMetricsPage()],
    ['docs/json.md', renderJsonPage()],
    ['README.md', renderReadme()],
  ]);
}

function renderConfig(): string {
  const peerName = exampleOf('NAME', factsOf(peerNameSchema));
  return `${MARK}

# The configuration file

One YAML file describes a node. \`ringfence init\` writes one, \`ringfence check FILE\` says everything that is wrong with
one, \`ringfence run FILE\` brings its node up. This one has every key:

\`\`\`yaml
interface:
${exampleLines(interfaceSchema, '  ')}

peers:
  ${peerName}:
${exampleLines(peerSchema, '    ')}
  cellb:
    public_key: zTM+mIlyE1C8CRAv2hpBM09WSTgw4jMRHkl3SKHBZgU=
    routes: [10.5.0.0/24]

metrics:
${exampleLines(metricsSchema, '  ')}

logging:
${exampleLines(loggingSchema, '  ')}

firewall:
${exampleLines(firewallSchema, '  ')}
\`\`\`

- The file is UTF-8 text. A key that is not listed here is an error, not ignored.
- Names of files count from the folder of the configuration file. A key file holds one key and has mode 0600: a file that
  others can read is refused. \`ringfence genkey\` makes a private key, \`ringfence genpsk\` a preshared one.
- An endpoint with an IPv6 address stands in brackets and quotes, as in \`endpoints: ["[2001:db8::1]:51820"]\`: without
  the quotes its brackets would be a list.
- In parentheses stands the [error code](errors.md) of what is not as it should be.

## Section \`interface\`

This node itself. The section is required.

${keyEntries(interfaceSchema, 'interface.')}

## Section \`peers\`

The other nodes, each a section \`peers.NAME\` of its own. Without this section, or while it is empty, the node has none.

### \`peers.NAME\`

${factsOf(peerNameSchema).description}

${valueLine(factsOf(peerNameSchema))}
- Example: \`${peerName}:\`

${keyEntries(peerSchema, 'peers.NAME.')}

A peer needs \`addresses\` or \`routes\`: what is sent to them goes to it, and what it sends must come from them. Each address
and each network belongs to one peer only; where one network lies inside another, the smaller one counts.

## Section \`metrics\`

Numbers for Prometheus at \`/metrics\`, which [metrics.md](metrics.md) lists, and a [page to look at](status.md) at \`/\`. Without
this section nothing is served.

${keyEntries(metricsSchema, 'metrics.')}

## Section \`logging\`

${keyEntries(loggingSchema, 'logging.')}

## Section \`firewall\`

What each peer may reach. Without this section every peer may reach everything, as with plain WireGuard; with it, only what
is granted. [policy.md](policy.md) says how it is judged, with examples.

${keyEntries(firewallSchema, 'firewall.')}
`;
}

/** Sections that have names of the file's choosing stand below their key, others behind it. */
function exampleLines(section: Section, indent: string): string {
  return keysOf(section)
    .map(([name, field]) => {
      const named = withoutDefault(field);
      if (!(named instanceof z.ZodRecord) || !(named.valueType instanceof z.ZodObject)) {
        return `${indent}${exampleLine(name, field)}`;
      }
      const example = exampleOf(name, factsOf(field));
      return `${indent}${name}:\n${indent}  ${example}:\n${exampleLines(named.valueType, `${indent}    `)}`;
    })
    .join('\n');
}

function keyEntries(section: Section, prefix: string): string {
  return keysOf(section)
    .map(([name, field]) => keyEntry(prefix, name, field))
    .join('\n\n');
}

function keyEntry(prefix: string, name: string, field: z.core.$ZodType): string {
  const facts = factsOf(field);
  const lines = [
    valueLine(facts),
    ...itemLines(field),
    `- ${presence(field)}`,
    `- Example: \`${exampleLine(name, field)}\``,
  ];
  const entry = `### \`${prefix}${name}\`\n\n${facts.description}\n\n${lines.join('\n')}`;
  const [section, suffix] = sectionIn(withoutDefault(field));
  return section === null ? entry : `${entry}\n\n${keyEntries(section, `${prefix}${name}${suffix}.`)}`;
}

/** The section that a key holds, as it is, by names, or as the items of a list, and how that shows in the path of its keys. */
function sectionIn(field: z.core.$ZodType): [section: Section | null, suffix: string] {
  if (field instanceof z.ZodObject) return [field, ''];
  if (field instanceof z.ZodRecord && field.valueType instanceof z.ZodObject)
    return [field.valueType, '.NAME'];
  if (field instanceof z.ZodArray && field.element instanceof z.ZodObject) return [field.element, '[]'];
  if (field instanceof z.ZodUnion) {
    return field.options.map(sectionIn).find(([section]) => section !== null) ?? [null, ''];
  }
  return [null, ''];
}

function valueLine({ expected, code }: KeyFacts, title = 'Value'): string {
  return `- ${title}: ${expected} (else [\`${code}\`](errors.md))`;
}

/** What each item of a list is, and whether there must be one. */
function itemLines(field: z.core.$ZodType): string[] {
  const list = withoutDefault(field);
  if (!(list instanceof z.ZodArray)) return [];
  const title = z.safeParse(field, []).success ? 'Each item' : 'Each item, at least one';
  return [valueLine(factsOf(list.element), title)];
}

function presence(field: z.core.$ZodType): string {
  if (field instanceof z.ZodOptional || withoutDefault(field) instanceof z.ZodObject) return 'Optional';
  if (field instanceof z.ZodDefault || field instanceof z.ZodPrefault) {
    const value: unknown = field.def.defaultValue;
    return `Default: \`${typeof value === 'string' ? value : JSON.stringify(value)}\``;
  }
  return 'Required';
}

function exampleLine(name: string, field: z.core.$ZodType): string {
  return `${name}: ${exampleOf(name, factsOf(field))}`;
}

function exampleOf(name: string, { example }: KeyFacts): string {
  if (example === undefined) throw new TypeError(`the key ${name} has no example in schema.ts`);
  return example;
}

function keysOf(section: Section): [string, z.core.$ZodType][] {
  return Object.entries(section.shape);
}

function renderErrors(): string {
  const rows = (Object.keys(ERROR_CODES) as ErrorCode[]).map(
    (code) => `| \`${code}\` | ${ERROR_CODES[code]} | ${exitCodeOfCode(code)} |`,
  );
  return `${MARK}

# Error codes

An error is shown with its code at the end of the line, and often a hint in the next:

\`\`\`text
ringfence.yaml:5:8: interface.mtu: 1 is not auto, or a number from 576 to 65455 (ERR_CONFIG_MTU)
\`\`\`

\`ringfence check --json\` has the same code under \`code\`, with the file, the line, the column and the path of the key.
A code never changes its meaning; the words around it may. Match on the code.

The exit status is 0 when all is fine, 1 when something failed while running, 2 when the command line or the configuration
is wrong. It follows from the code; of several problems in one configuration it is always 2.

| Code | Meaning | Exit status |
|---|---|---|
${rows.join('\n')}
`;
}

function renderMetricsPage(): string {
  const rows = METRICS.map(({ name, type, labels, help }) => {
    const own = labels.length === 0 ? '' : labels.map((label) => `\`${label}\``).join(', ');
    return `| \`${name}\` | ${type} | ${own} | ${help} |`;
  });
  return `${MARK}

# Metrics

With a [section \`metrics\`](config.md#section-metrics) in its file a node serves these at \`/metrics\`, in the text format of
Prometheus. Each has the label \`interface\` too. There is no secret among them, but they tell who the peers are, where they
are and how much they send: serve them on a loopback or overlay address, or on a socket.

| metric | type | labels | |
|---|---|---|---|
${rows.join('\n')}

\`\`\`yaml
# prometheus.yml
scrape_configs:
  - job_name: ringfence
    static_configs:
      - targets: ["127.0.0.1:9586"]
\`\`\`

A socket is asked by \`curl --unix-socket PATH http://localhost/metrics\`. A client that asks for a name which is neither
\`localhost\` nor in \`metrics.hosts\` gets 421: a web page that has its visitors' browsers ask here by a name of its own
(DNS rebinding) reads nothing. Only GET and HEAD are answered, to at most 64 connections at a time, each within 10 s.
`;
}

function renderJsonPage(): string {
  return `${MARK}

# JSON for programs

Commands that show something have \`--json\`. The exit status is the same with it and without; an error is a line of text on standard error, with a
[code](errors.md) that never changes its meaning.

[status.schema.json](status.schema.json) and [answers.schema.json](answers.schema.json) are their JSON Schemas, and tests hold the program to them, key by key. A
[result of the benchmark](benchmark.md#results) has its schema in its source.

${renderJsonSections('status.schema.json')}

${renderJsonSections('answers.schema.json')}
`;
}

/** The README with the table behind each marker drawn from the result the marker names: `<!-- figures: FILE -->`. */
function renderReadme(): string {
  const root = new URL('../', import.meta.url);
  const text = readFileSync(new URL('README.md', root), 'utf8');
  return text.replace(
    /<!-- figures: (\S+) -->\n[\s\S]*?<!-- end of figures -->/g,
    (_, file: string) =>
      `<!-- figures: ${file} -->\n${renderFigures(resultSchema.parse(JSON.parse(readFileSync(new URL(file, root), 'utf8'))))}<!-- end of figures -->`,
  );
}

/** What the README shows of a result, at its first MTU; the rest is in the file. */
const SHOWN_METRICS = [
  'tcp1.up',
  'tcp8.up',
  'cpu.per-gb',
  'udp64.delivered',
  'ping.idle.p50',
  'memory.load',
  'handshakes',
  'start',
];

function renderFigures(result: Result): string {
  const [own, ...others] = result.peers.map(({ name }) => name);
  const { settings, machine } = result;
  const places = placesOf(result).filter(
    ({ metric, mtu }) => SHOWN_METRICS.includes(metric.id) && (mtu === null || mtu === settings.mtus[0]),
  );
  const rows = places.map((place) => {
    const { title, unit } = place.metric;
    const compared = others.map((other) => {
      const ratio = spreadOf(pairedRatios(result, own ?? '', other, place));
      return `${figure(result, other, place)} | ${ratio === null ? '' : `**${ratio.median.toFixed(2)}**`}`;
    });
    return `| ${title}, ${unit} | ${[figure(result, own ?? '', place), ...compared].join(' | ')} |`;
  });
  const columns = [own, ...others.flatMap((other) => [other, 'ratio'])];
  const versions = result.peers.map(({ name, version }) => `${name} ${version}`).join(', ');
  return `| median (least…most) | ${columns.join(' | ')} |
|---|${columns.map(() => '---|').join('')}
${rows.join('\n')}

${settings.rounds} rounds of ${settings.seconds} s, MTU ${settings.mtus[0]}, commit ${result.commit.slice(0, 7)}: ${versions}; ${machine.cpu},
Linux ${machine.kernel}. The ratio is the median over the rounds.
`;
}

function figure(result: Result, peer: string, place: Place): string {
  const spread: Spread | null = spreadOf(scoresOf(result, peer, place).values());
  if (spread === null) return '';
  const [minimum, median, maximum] = [spread.minimum, spread.median, spread.maximum].map((value) =>
    value.toFixed(place.metric.digits),
  );
  return `${median} (${minimum}…${maximum})`;
}

if (import.meta.main) {
  for (const [path, text] of renderDocs()) {
    writeFileSync(new URL(`../${path}`, import.meta.url), text);
    process.stdout.write(`wrote ${path}\n`);
  }
}
