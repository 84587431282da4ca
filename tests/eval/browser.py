#!/usr/bin/env python3
"""browser.py REPORT.html COMPARISON.json FOLDER: the report in a real browser (Debian's chromium, headless, from disk, no network).

In light and dark, on a wide and on a narrow screen: nothing is fetched, nothing sticks out, no text of a picture is cut off or hidden by another
label, every text has contrast enough to be read, and the marks show the numbers of COMPARISON.json. Screenshots go to FOLDER."""
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

CHECK = r"""
<script>
(() => {
  const problems = [], say = s => problems.push(s);
  const comparison = JSON.parse(document.getElementById('comparison').textContent);
  const rows = Object.fromEntries(comparison.configurations.map(c => [c.name, c]));
  document.querySelectorAll('details').forEach(d => d.open = true);
  if (document.documentElement.scrollWidth > innerWidth) say('the page is ' + document.documentElement.scrollWidth + ' wide, the screen ' + innerWidth);
  if (performance.getEntriesByType('resource').length) say('something was fetched');

  const light = c => { const v = c.match(/[\d.]+/g).slice(0, 3).map(x => x / 255).map(x => x <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4); return .2126 * v[0] + .7152 * v[1] + .0722 * v[2]; };
  const contrast = (a, b) => { const x = light(a), y = light(b); return (Math.max(x, y) + .05) / (Math.min(x, y) + .05); };
  const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (c !== 'rgba(0, 0, 0, 0)') return c; } return 'rgb(255, 255, 255)'; };
  let texts = 0, numbers = 0;
  const judge = (e, colour, ground) => { texts++; const c = contrast(colour, ground); if (c < 4.5) say('contrast ' + c.toFixed(2) + ': ' + e.textContent.slice(0, 40)); };
  for (const e of document.querySelectorAll('h1,h2,h3,p,th,td,small,mark,summary,summary span,dt,dd,code,.tile b,.tile span')) judge(e, getComputedStyle(e).color, behind(e));

  const near = (a, b) => Math.abs(a - b) <= 1e-9 * Math.max(1, Math.abs(a), Math.abs(b));
  const shows = (e, name, value) => { numbers++; if (!near(+e.getAttribute(name), value)) say(e.tagName + ' ' + name + ' shows ' + e.getAttribute(name) + ', not ' + value); };
  for (const svg of document.querySelectorAll('svg')) {
    const frame = svg.getBoundingClientRect(), kind = svg.dataset.chart, labels = [];
    if (frame.width < 100) say('a picture is ' + frame.width + ' wide');
    for (const t of svg.querySelectorAll('text')) {
      const b = t.getBoundingClientRect();
      if (b.left < frame.left - 1 || b.right > frame.right + 1 || b.top < frame.top - 1 || b.bottom > frame.bottom + 1) say(kind + ': cut off: ' + t.textContent);
      if (!t.classList.contains('cell')) judge(t, getComputedStyle(t).fill, behind(svg));
      if (t.classList.contains('label')) labels.push([t, b]);
    }
    for (const [t, a] of labels) for (const [u, b] of labels)
      if (t !== u && Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3) say(kind + ': ' + t.textContent + ' hides ' + u.textContent);
    for (const e of svg.querySelectorAll('[data-c]')) {
      const row = rows[e.dataset.c];
      if (!row) { say('no configuration ' + e.dataset.c); continue; }
      const ppl = row.perplexity.nonoverlap, d = row.divergence, data = e.dataset;
      if (kind === 'size' && e.tagName === 'circle') { shows(e, 'data-x', row.size.bytes); shows(e, 'data-y', ppl.ppl); }
      if (kind === 'size' && data.error) shows(e, 'data-error', ppl.paired_standard_error);
      if (kind === 'kl' && data.q) shows(e, 'data-x', d.kl[data.q]);
      if (kind === 'kl' && data.mean) shows(e, 'data-mean', d.kl.mean);
      if (kind === 'kl' && data.counts) { numbers++; if (data.counts !== d.kl_histogram.map(b => b[2]).join(' ')) say('a histogram shows other counts'); }
      if (data.batch) shows(e, 'data-x', row.cost.batches.find(b => b.batch == data.batch)[kind].median);
      if (kind.startsWith('heat')) { const c = row.prompts.categories.find(c => c.category === data.category); shows(e, 'data-v', kind === 'heat-kl' ? c.kl.mean : c.character_similarity); }
    }
  }
  const result = document.createElement('pre');
  result.id = 'result';
  result.textContent = JSON.stringify({problems, texts, numbers, pictures: document.querySelectorAll('svg').length, dark: matchMedia('(prefers-color-scheme: dark)').matches, comparison, height: document.documentElement.scrollHeight});
  document.body.append(result);
})();
</script>
"""


def chromium(page, scheme, width, height, *flags):
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = ['chromium', '--headless=new', '--no-sandbox', '--disable-gpu', '--hide-scrollbars', '--host-resolver-rules=MAP * ~NOTFOUND', f'--user-data-dir={profile}',
                   f'--window-size={width},{height}', f'--blink-settings=preferredColorScheme={0 if scheme == "dark" else 1}', *flags, page.resolve().as_uri()]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=120, text=True).stdout


def main(report, comparison, folder):
    if not shutil.which('chromium'):
        print('skipped: browser.py: there is no chromium')
        return
    report, folder = pathlib.Path(report), pathlib.Path(folder)
    expected = json.loads(pathlib.Path(comparison).read_text())
    text = report.read_text()
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        page = pathlib.Path(scratch) / 'page.html'
        page.write_text(text.replace('</body>', CHECK + '</body>'))
        for scheme in ('light', 'dark'):
            for width in (1280, 500):
                dom = chromium(page, scheme, width, 1000, '--dump-dom')
                found = re.search(r'<pre id="result">(.*?)</pre>', dom, re.S)
                if not found:
                    sys.exit('browser.py: the page did not get to its end')
                result = json.loads(found[1].replace('&lt;', '<').replace('&gt;', '>').replace('&amp;', '&'))
                problems = result['problems']
                if result['dark'] != (scheme == 'dark'):
                    problems.append('the browser does not know which scheme it should show')
                if result['comparison'] != expected:
                    problems.append('the page holds another comparison than ' + comparison)
                if result['pictures'] == 0 or result['numbers'] == 0 or result['texts'] < 50:
                    problems.append('there is nothing to check')
                for p in problems:
                    print(f'{scheme}, {width} wide: {p}')
                failed += len(problems)
                print(f'{scheme}, {width} wide: {result["pictures"]} pictures, {result["numbers"]} numbers, {result["texts"]} texts, {len(problems)} problems')
                chromium(report, scheme, width, min(result['height'], 12000), f'--screenshot={folder.resolve()}/report-{scheme}-{width}.png')
    sys.exit(1 if failed else 0)


main(*sys.argv[1:])
