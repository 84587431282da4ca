// The look of a report: light or dark as the reader's system is. No colour is the only thing that says something.
#pragma once

namespace eval {

inline constexpr const char* style_sheet = R"css(
:root { color-scheme: light dark;
  --paper: #f6f7f9; --card: #ffffff; --ink: #1b2430; --soft: #5b6776; --line: #dfe4ea; --grid: #e9edf1; --accent: #1f5fbf;
  --heat: #1f5fbf; --good: #1a7f4b; --bad: #b3372f; --mark: #fde9a9;
  --c0: #1b2430; --c1: #1f5fbf; --c2: #c2571a; --c3: #1a7f4b; --c4: #8b3fa8; --c5: #b3372f; --c6: #0b7c8c; --c7: #8a6d00; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #11151b; --card: #191f27; --ink: #e6ebf1; --soft: #9aa7b5; --line: #2c3540; --grid: #252d37; --accent: #7db2ff;
  --heat: #3b7de0; --good: #5fd39a; --bad: #ff8f85; --mark: #5a4a10;
  --c0: #e6ebf1; --c1: #7db2ff; --c2: #ffab70; --c3: #5fd39a; --c4: #d7a1f0; --c5: #ff8f85; --c6: #59d2e0; --c7: #e5c65c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 36px 24px 64px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 4px; letter-spacing: -.01em; }
h2 { font-size: 22px; margin: 40px 0 4px; letter-spacing: -.01em; }
h3 { font-size: 15px; margin: 0 0 2px; }
p { margin: 4px 0 12px; max-width: 82ch; }
.soft, .note { color: var(--soft); } .note { font-size: 13px; margin: 0 0 10px; }
code { font: 13px ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 16px 18px; margin: 16px 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(220px, 1fr)); gap: 16px; margin: 18px 0; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 12px 16px; }
.tile b { display: block; font-size: 22px; line-height: 1.3; font-variant-numeric: tabular-nums; } .tile span { color: var(--soft); font-size: 13px; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(520px, 100%), 1fr)); gap: 16px; margin: 16px 0; align-items: start; }
.charts .card { margin: 0; min-width: 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 13.5px; }
th { text-align: right; font-weight: 600; color: var(--soft); padding: 4px 10px 6px; border-bottom: 1px solid var(--line); vertical-align: bottom; line-height: 1.25; }
td { text-align: right; padding: 5px 10px; border-bottom: 1px solid var(--grid); white-space: nowrap; }
tr:last-child td { border-bottom: 0; } th:first-child, td:first-child { text-align: left; padding-left: 0; } td:first-child { font-weight: 600; }
td small { color: var(--soft); } .text td, .text th { text-align: left; white-space: normal; vertical-align: top; }
.text td:first-child { white-space: nowrap; font-weight: 400; } .text { table-layout: auto; }
.q { white-space: pre-wrap; overflow-wrap: anywhere; } mark { background: var(--mark); color: inherit; border-radius: 2px; }
details { border-top: 1px solid var(--grid); padding: 8px 0; } details:first-of-type { border-top: 0; }
summary { cursor: pointer; font-weight: 600; } summary span { font-weight: 400; color: var(--soft); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 18px; margin: 8px 0; font-size: 13.5px; } dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
svg { display: block; width: 100%; height: auto; font: 11.5px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; font-variant-numeric: tabular-nums; }
svg text { fill: var(--ink); } svg .tick, svg .axis { fill: var(--soft); } svg .value { fill: var(--soft); font-size: 11px; }
svg .label { font-size: 12px; } svg .cell { font-size: 10.5px; } svg .strong { fill: #fff; }
.grid { stroke: var(--grid); } .base { stroke: var(--line); } .reference { stroke: var(--soft); stroke-dasharray: 2 4; } .leader { stroke: var(--soft); stroke-width: .7; }
.dot { fill: var(--c); } .ring { fill: var(--card); stroke: var(--c); stroke-width: 2; } .bar { stroke: var(--c); stroke-width: 1.3; }
.ridge { fill: var(--c); fill-opacity: .28; stroke: var(--c); stroke-width: 1; } .mark { stroke: var(--c); stroke-width: 2.4; } .mark.thin { stroke-width: 1.3; stroke-dasharray: 3 2; }
.heat { fill: var(--heat); } .fill { fill: var(--c); } .whisker { stroke: var(--ink); stroke-width: 1.2; }
.c0 { --c: var(--c0); } .c1 { --c: var(--c1); } .c2 { --c: var(--c2); } .c3 { --c: var(--c3); } .c4 { --c: var(--c4); } .c5 { --c: var(--c5); } .c6 { --c: var(--c6); } .c7 { --c: var(--c7); }
.b0 { --c: var(--c1); } .b1 { --c: var(--c6); } .b2 { --c: var(--c4); } .b3 { --c: var(--c2); }
@media print { body { background: #fff; } .card, .tile { break-inside: avoid; } }
)css";

}  // namespace eval
