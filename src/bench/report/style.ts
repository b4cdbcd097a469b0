// The looks of the report: one style sheet, no font and no picture from anywhere. Colours are told apart by lightness as
// well as by hue (after Okabe and Ito's palette for all kinds of colour vision), and names stand beside them everywhere.

export const STYLE = `
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --text: #14181f; --muted: #5b6472; --line: #e3e6eb; --accent: #0b5cad;
  --peer-0: #0b6bc2; --peer-1: #b84d06; --peer-2: #00805f; --peer-3: #a1478a; --peer-4: #8a6d00; --peer-5: #55606e;
  --better: #0b6bc2; --worse: #b84d06; --even: #7a8494;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", sans-serif;
  --mono: ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --page: #0f1319; --card: #171c24; --text: #e8ebf0; --muted: #9aa4b3; --line: #2a313c; --accent: #6db3f8;
    --peer-0: #5aaef7; --peer-1: #f2944b; --peer-2: #35c79b; --peer-3: #d98cc6; --peer-4: #dcbf4a; --peer-5: #aab3c0;
    --better: #5aaef7; --worse: #f2944b; --even: #8b95a4;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--page); color: var(--text); font: 16px/1.55 var(--sans); overflow-wrap: anywhere; }
main { max-width: 1120px; margin: 0 auto; padding: 32px 16px 48px; }
a { color: var(--accent); }
h1 { font-size: clamp(1.6rem, 1.1rem + 2.4vw, 2.6rem); line-height: 1.15; letter-spacing: -0.02em; margin: 0 0 16px; max-width: 22em; text-wrap: balance; }
h2 { font-size: 1.35rem; line-height: 1.25; letter-spacing: -0.01em; margin: 56px 0 8px; }
h3 { font-size: 1rem; line-height: 1.35; margin: 0; }
h4 { font-size: 0.8rem; font-weight: 600; color: var(--muted); margin: 14px 0 2px; }
p { margin: 0 0 12px; max-width: 46em; }
.kicker { color: var(--muted); font-size: 0.9rem; margin-bottom: 10px; }
.lead { font-size: 1.1rem; color: var(--muted); }
.muted, figcaption p { color: var(--muted); font-size: 0.9em; margin: 0; }
.warning { border-left: 4px solid var(--worse); padding: 8px 14px; background: var(--card); border-radius: 0 8px 8px 0; }
.key { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 20px 0 0; padding: 0; font-size: 0.9rem; }
.key li { display: flex; align-items: baseline; gap: 7px; min-width: 0; }
.swatch { flex: none; width: 11px; height: 11px; border-radius: 3px; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 320px), 1fr)); gap: 16px; margin-top: 16px; align-items: start; }
.group { display: grid; grid-template-columns: minmax(0, 1fr); gap: 0 32px; margin-top: 48px; }
.group h2 { margin-top: 0; }
.group .grid { margin-top: 8px; }
@media screen and (min-width: 900px) { .group { grid-template-columns: 240px minmax(0, 1fr); } .group .grid { margin-top: 0; } }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 16px; margin: 0; min-width: 0; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 320px), 1fr)); gap: 16px 40px; align-items: start; }
.pair > * { min-width: 0; }
.plot { display: block; width: 100%; height: auto; max-width: 520px; }
.plot text { font-family: var(--sans); font-variant-numeric: tabular-nums; }
details { margin-top: 10px; font-size: 0.85rem; }
summary { cursor: pointer; color: var(--accent); width: fit-content; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; border-radius: 4px; }
.scroll { overflow-x: auto; }
.round { white-space: nowrap; margin-right: 8px; }
.plain { margin: 0; }
.after { margin-top: 28px; }
table { border-collapse: collapse; width: 100%; font-size: 0.85rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--muted); padding-bottom: 4px; }
th, td { text-align: right; padding: 4px 0 4px 12px; border-top: 1px solid var(--line); vertical-align: top; }
td, thead th, .whole { overflow-wrap: normal; }
.whole { white-space: nowrap; }
@media (min-width: 480px) { td:not([colspan]) { white-space: nowrap; } }
th:first-child { min-width: 7em; }
thead th { border-top: 0; color: var(--muted); font-weight: 500; vertical-align: bottom; }
th:first-child, td:first-child, .left { text-align: left; }
th:first-child, td:first-child { padding-left: 0; }
tbody th { font-weight: 400; }
.better { color: var(--better); font-weight: 600; }
.worse { color: var(--worse); font-weight: 600; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 320px), 1fr)); gap: 16px; margin-top: 16px; }
dl { display: grid; grid-template-columns: auto 1fr; gap: 6px 16px; margin: 12px 0 0; font-size: 0.9rem; }
dt { color: var(--muted); }
dd { margin: 0; min-width: 0; }
code, pre { font-family: var(--mono); font-size: 0.85em; }
pre { background: var(--page); border: 1px solid var(--line); border-radius: 8px; padding: 12px; margin: 12px 0; white-space: pre-wrap; }
.topology { display: grid; grid-template-columns: 1fr 2fr 1fr; gap: 0; margin: 16px 0 20px; max-width: 620px; text-align: center; font-size: 0.85rem; }
.topology div { padding: 10px 6px; }
.host { border: 1.5px solid var(--muted); border-radius: 8px; grid-row: span 2; display: grid; align-content: center; }
.tunnel { border-bottom: 4px double var(--peer-0); }
.wire { color: var(--muted); }
ul { padding-left: 1.2em; margin: 12px 0; max-width: 46em; }
footer { margin-top: 56px; padding-top: 16px; border-top: 1px solid var(--line); color: var(--muted); font-size: 0.85rem; }
@media print {
  body { background: #fff; font-size: 10.5pt; }
  main { max-width: none; padding: 0; }
  .card, figure, tr { break-inside: avoid; }
  .pair { display: block; break-inside: auto; }
  .pair .plot { max-width: 340px; }
  h2, h3, h4 { break-after: avoid; }
  details::details-content { content-visibility: visible; display: block; height: auto; }
  summary { list-style: none; color: inherit; }
}
`;
